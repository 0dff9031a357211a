"""Shards to processes: the one seam behind which a cluster may stand."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from typing import Any, Protocol, TypeVar

from aftertrain.core.errors import RunError

T = TypeVar("T")
_LOOK = 0.5
"""Seconds between two looks at whether the user asked to stop."""


class Executor(Protocol):
    """Runs tasks somewhere. What a task does is on disk when its result is there."""

    def __call__(self, function: Callable[[T], int], tasks: Sequence[T], stop: Callable[[], None]) -> Iterator[int]:
        """The results as they come.

        Args:
            stop: called between; raises to end it.

        Raises:
            RunError: a process died; what was done stays.
        """
        ...


def here(function: Callable[[T], int], tasks: Sequence[T], stop: Callable[[], None]) -> Iterator[int]:
    """One after the other in this process."""
    for task in tasks:
        stop()
        yield function(task)


class Processes:
    """So many processes of this machine."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def __call__(self, function: Callable[[T], int], tasks: Sequence[T], stop: Callable[[], None]) -> Iterator[int]:
        """As `Executor`; at most two tasks a process are under way, so that a stop waits for few."""
        context = multiprocessing.get_context("spawn")
        waiting, running = iter(tasks), set[Future[int]]()
        pool: Any = ProcessPoolExecutor(
            min(self._workers, len(tasks)), mp_context=context, initializer=_die_with_parent
        )
        try:
            while True:
                stop()
                for task in waiting:
                    with _nameless_main():
                        running.add(pool.submit(function, task))
                    if len(running) >= 2 * self._workers:
                        break
                if not running:
                    return
                done, running = wait(running, timeout=_LOOK, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise RunError(
                "a process that worked on rows was killed (of memory, or by somebody); what is done is kept: start the "
                "same command again, with fewer workers or a lower shard_rows if memory was short"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _nameless_main() -> Iterator[None]:
    """Around the start of a process: it does not run the main program again, which may have no guard against that.

    Nothing of it is needed there: components that are defined in the main program are refused before.
    """
    main = sys.modules["__main__"]
    known: dict[str, Any] = {name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(known)


def _die_with_parent() -> None:
    """A killed run leaves no process behind that goes on writing into its folder."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def executor(workers: int) -> Executor:
    """Of so many processes; of one, this process itself."""
    return here if workers == 1 else Processes(workers)
