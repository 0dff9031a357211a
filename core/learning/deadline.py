"""Named waits: one that passes its deadline ends the run with what it waited for, instead of hanging for ever.

    with waiting("the server at :8000 to answer", timeout=600):
        response = connection.getresponse()

When the time is up, a watchdog thread logs the name, dumps the stacks of all threads to standard error, tells the run
(which writes `run_failed`) and ends the process with `EXIT_CODE`: the waiting thread may be stuck where no exception
can reach it. The last checkpoint is intact, so that the run can be resumed.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)
EXIT_CODE = 75
"""Exit status after a passed deadline (EX_TEMPFAIL of sysexits.h: trying again may help)."""

on_deadline: ContextVar[Callable[[str], None] | None] = ContextVar("on_deadline", default=None)
"""Told the message before the process ends; the runner sets it."""


@contextmanager
def waiting(what: str, timeout: float, who: Callable[[], str] | None = None) -> Iterator[None]:
    """Bound the block by a deadline.

    Args:
        what: what is waited for, for people: "rank 1 to join".
        timeout: seconds until then.
        who: asked, when the time is up, who is to blame.
    """
    watchdog = threading.Timer(timeout, _expire, (what, timeout, on_deadline.get(), who))
    watchdog.daemon = True
    watchdog.name = f"deadline: {what}"
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _expire(what: str, timeout: float, listener: Callable[[str], None] | None, who: Callable[[], str] | None) -> None:
    message = f"waited {timeout:g} s for {what}: the deadline has passed"
    try:
        message += f"; {who()}" if who is not None else ""
        log.critical("%s; the stacks of all threads follow", message)
        faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
        if listener is not None:
            listener(message)
    finally:
        os._exit(EXIT_CODE)


def within(timeout: float, call: Callable[[], T]) -> T:
    """What a call gives that may never come back.

    Raises:
        TimeoutError: it did not within so many seconds; the thread that waits for it is left behind.
    """
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised again by `result`
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True, name="within").start()
    return answer.result(timeout)
