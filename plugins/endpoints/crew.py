"""Threads that do calls, and what became of these: results as they come, the first failure when all is quiet."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Crew(Generic[T]):
    """At most `size` calls at once.

    After a failure no further call is begun; those on their way are waited for, since they are paid for, and their
    results are handed out before the failure is raised.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._todo: queue.SimpleQueue[tuple[str, Callable[[], T]] | None] = queue.SimpleQueue()
        self._state = threading.Condition()
        self._waiting: set[str] = set()
        self._running: set[str] = set()
        self._dropped: set[str] = set()
        self._results: list[T] = []
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._closed = False

    @property
    def in_flight(self) -> frozenset[str]:
        """Names of the calls that wait or run."""
        with self._state:
            return frozenset(self._waiting | (self._running - self._dropped))

    def add(self, name: str, call: Callable[[], T]) -> None:
        """Queue a call; names are unique among those in flight."""
        with self._state:
            self._waiting.add(name)
            if len(self._threads) < min(self._size, len(self._waiting) + len(self._running)):
                # A daemon: a user who stops the run is not kept waiting for an answer.
                thread = threading.Thread(target=self._work, daemon=True, name="endpoint")
                self._threads.append(thread)
                thread.start()
        self._todo.put((name, call))

    def collect(self, timeout: float | None) -> list[T]:
        """Results since the last call, at least one unless nothing is in flight.

        Raises:
            TimeoutError: there is none within `timeout` seconds.
            BaseException: what a call raised, once nothing runs.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._state:
            while True:
                if self._results:
                    results, self._results = self._results, []
                    return results
                if self._failure is not None and not self._running:
                    failure, self._failure = self._failure, None
                    self._waiting.clear()
                    raise failure
                if not self._waiting and not self._running - self._dropped:
                    return []
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"no answer within {timeout:g} s")
                self._state.wait(left)

    def drop(self, names: Iterable[str] | None = None) -> None:
        """Forget calls: those that wait are not made, results of those that run are thrown away."""
        with self._state:
            gone = self._waiting | self._running if names is None else set(names)
            self._waiting -= gone
            self._dropped |= gone & self._running
            if names is None:
                self._results, self._failure = [], None
            self._state.notify_all()

    def close(self) -> None:
        """Begin no further call, and let the threads go."""
        self.drop()
        with self._state:
            self._closed = True
        for _ in self._threads:
            self._todo.put(None)

    def _work(self) -> None:
        while (entry := self._todo.get()) is not None:
            name, call = entry
            with self._state:
                if name not in self._waiting or self._failure is not None or self._closed:
                    continue
                self._waiting.discard(name)
                self._running.add(name)
            result: list[T] = []
            failure: BaseException | None = None
            try:
                result = [call()]
            except BaseException as error:  # noqa: BLE001  # raised by `collect`, in the thread of who asked
                failure = error
            with self._state:
                self._running.discard(name)
                if name in self._dropped:
                    self._dropped.discard(name)
                else:
                    self._results += result
                    self._failure = self._failure or failure
                self._state.notify_all()
