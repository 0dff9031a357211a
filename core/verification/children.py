"""The child processes of a pool: idle ones are lent to one call at a time."""

from __future__ import annotations

import logging
import os
import threading
import weakref

from aftertrain.core.errors import RunError
from aftertrain.core.verification.process import Process
from aftertrain.core.verification.settings import PoolSettings

log = logging.getLogger(__name__)

TELLING = 60.0
"""Seconds of waiting for a process after which the log says so."""


class Children:
    """Starts, lends and ends them. Thread-safe."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._start_afresh()
        _everyones.add(self)

    def borrow(self, *, wait: bool, fresh: bool) -> Process | None:
        """An idle child or a new one; None when all are lent, or none can be started, and `wait` is false.

        A thread that holds all of them itself (in a stream that it left half read) gets one more than the settings
        allow: it would wait for itself.

        Args:
            fresh: it must have judged nothing yet.

        Raises:
            RunError: the system has no room for a further process.
        """
        me = threading.get_ident()
        with self._freed:
            while not self._idle and len(self._lent) >= self._settings.size:
                if not wait:
                    return None
                if all(holder == me for holder in self._lent.values()):
                    break
                if not self._freed.wait(TELLING):
                    log.warning("waiting for one of %d judging processes, all in use", self._settings.size)
            child = self._living(fresh) or self._started(wait)
            if child is not None:
                self._lent[child] = me
            return child

    def give_back(self, child: Process, alive: bool) -> None:
        """End a loan; a child that is not alive, busy, one too many or has served enough is ended."""
        with self._freed:
            if self._lent.pop(child, None) is None:
                return  # it belonged to the process this one was forked from
            fits = len(self._idle) + len(self._lent) < self._settings.size
            keeps = alive and fits and not child.ended and child.served < self._settings.recycle
            if keeps:
                self._idle.append(child)
            self._freed.notify()
        if not keeps:
            child.kill()

    def pids(self) -> list[int]:
        """Of idle and of lent ones."""
        with self._lock:
            return sorted(child.pid for child in (*self._idle, *self._lent))

    def close(self) -> None:
        """Kill all. A lent one keeps its descriptors, whose numbers must not be used anew, until it is given back."""
        with self._freed:
            for child in (*self._idle, *self._lent):
                child.end()
            for child in self._idle:
                child.kill()
            self._idle.clear()
            self._freed.notify_all()

    def forget(self) -> None:
        """In a forked copy of their owner the children are not ours to speak with, nor locks that nobody releases."""
        for child in (*self._idle, *self._lent):
            child.abandon()
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._idle: list[Process] = []
        self._lent: dict[Process, int] = {}

    def _living(self, fresh: bool) -> Process | None:
        """An idle child that has not died in the meantime."""
        for child in [child for child in reversed(self._idle) if not fresh or not child.served]:
            self._idle.remove(child)
            if child.alive:
                return child
            child.kill()
        return None

    def _started(self, needed: bool) -> Process | None:
        """A new child, in the place of an idle one where there is no other."""
        if self._idle and len(self._idle) + len(self._lent) >= self._settings.size:
            self._idle.pop(0).kill()
        try:
            return Process(int(self._settings.memory_gib * 2**30))
        except OSError as error:
            if not needed:
                return None
            raise RunError(
                f"no process for verifiers could be started: {error.strerror or error}; fewer workers need less"
            ) from error


_everyones: weakref.WeakSet[Children] = weakref.WeakSet()


def _forget_everyones() -> None:
    for children in list(_everyones):
        children.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_everyones)
