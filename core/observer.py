"""The observer interface: sees every event of a run after it is on disk."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, TypeVar

from aftertrain.core.component import Component
from aftertrain.core.events import Entry
from aftertrain.core.plugin import hookimpl
from aftertrain.core.settings import Settings

S = TypeVar("S", bound=Settings)


class Observer(Component[S]):
    """Watches a run. Its failure is logged with the traceback and the observer dropped; the run goes on."""

    kind: ClassVar[str] = "observer"

    def open(self, run_folder: Path) -> None:
        """Called once before the first event."""

    @abstractmethod
    def on_event(self, entry: Entry) -> None:
        """Called after each event is on disk, in the run's main thread: return soon.

        What happened is `entry.event`, one of the types of `aftertrain.core.events` or a plugin's own.
        """

    def close(self) -> None:
        """Called once when the run ends, however it ends."""

    @hookimpl
    def aftertrain_event(self, entry: Entry) -> None:
        """The hook; subclasses override `on_event`."""
        self.on_event(entry)

    @hookimpl
    def aftertrain_close(self) -> None:
        """The hook; subclasses override `close`."""
        self.close()
