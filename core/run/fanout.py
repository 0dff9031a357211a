"""Events to observers. Promise: an observer's failure is logged with its traceback and the observer dropped; it never
stops a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pluggy

from aftertrain.core.errors import AftertrainError
from aftertrain.core.events import Entry
from aftertrain.core.ground.foreign import EndedProgram, foreign, name_of, told
from aftertrain.core.observer import Observer
from aftertrain.core.plugin import ObserverSpec

log = logging.getLogger(__name__)


class Fanout:
    """The observers of one run. Anything with the hooks of `ObserverSpec` may be registered."""

    def __init__(self, observers: Iterable[object]) -> None:
        self._manager = pluggy.PluginManager("aftertrain")
        self._manager.add_hookspecs(ObserverSpec)
        for observer in observers:
            self._guarded(observer, partial(self._manager.register, observer))

    def open(self, run_folder: Path) -> None:
        """Open every observer.

        Raises:
            AftertrainError: what a user can mend before the run starts (a missing extra); the others are closed.
        """
        for observer in self._observers():
            if isinstance(observer, Observer):
                try:
                    self._guarded(observer, partial(observer.open, run_folder), AftertrainError)
                except AftertrainError:
                    self._manager.unregister(observer)
                    self.close()
                    raise

    def __call__(self, entry: Entry) -> None:
        """Hand an entry to every observer."""
        for observer in self._observers():
            hook = self._only(observer, "aftertrain_event")
            self._guarded(observer, partial(hook, entry=entry))

    def close(self) -> None:
        """Close every observer."""
        for observer in self._observers():
            self._guarded(observer, self._only(observer, "aftertrain_close"))

    def _observers(self) -> list[object]:
        return [observer for _, observer in self._manager.list_name_plugin()]

    def _only(self, observer: object, hook: str) -> Callable[..., object]:
        others = self._manager.get_plugins() - {observer}
        return self._manager.subset_hook_caller(hook, others)

    def _guarded(
        self, observer: object, call: Callable[[], object], let_through: type[Exception] | tuple[()] = ()
    ) -> None:
        name = name_of(observer)
        try:
            if name.startswith("aftertrain."):
                call()
            else:
                with foreign(f"observer {name}"):
                    call()
        except EndedProgram as error:
            self._dropped(observer, f"{name}: {error}")
        except let_through:
            raise
        except Exception as error:  # noqa: BLE001  a stranger's observer may raise anything
            self._dropped(observer, f"{name}: {told(error)}")

    def _dropped(self, observer: object, why: str) -> None:
        if self._manager.is_registered(observer):
            self._manager.unregister(observer)
        log.error("observer %s; it failed and is dropped, the run goes on", why, exc_info=True)
