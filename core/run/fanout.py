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
from aftertrain.core.ground.foreign import EndedProgram, foreign, told
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
                self._guarded(observer, partial(observer.open, run_folder), opening=True)

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

    def _guarded(self, observer: object, call: Callable[[], object], *, opening: bool = False) -> None:
        name = f"{type(observer).__module__}.{type(observer).__qualname__}"  # a stranger's `__repr__` may raise
        try:
            if name.startswith("aftertrain."):
                call()
            else:
                with foreign(f"observer {name}"):
                    call()
        except Exception as error:
            if self._manager.is_registered(observer):
                self._manager.unregister(observer)
            if opening and isinstance(error, AftertrainError) and not isinstance(error, EndedProgram):
                self.close()
                raise
            log.exception("observer %s: %s; it failed and is dropped, the run goes on", name, told(error))
