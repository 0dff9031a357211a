"""What a command shares with the terminal it was started from: its standard input, and its end."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click

TOLD_AFTER, ENDED_AFTER = 10.0, 60.0
"""Seconds after the command's end in which threads that others left running may end too."""


@contextlib.contextmanager
def unread_input() -> Iterator[None]:
    """Standard input reads as empty inside the block, for this process and those that it starts.

    Libraries ask questions there (transformers whether to run a model's own code), and a `y` that was meant for
    something else would answer them.
    """
    try:
        copy = os.dup(0)
    except OSError:  # closed by whoever started us: nothing can be read
        yield
        return
    stream = sys.stdin
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, copy)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
        stack.callback(os.dup2, copy, 0)
        sys.stdin = stack.enter_context(Path(os.devnull).open(encoding="utf-8"))
        stack.callback(setattr, sys, "stdin", stream)
        yield


def leave(status: int) -> None:
    """Have the process end with `status` though a stranger's threads would keep it from ending."""
    if _left():
        threading.Thread(target=_watch, args=(status,), daemon=True, name="end of the command").start()


def _left() -> list[threading.Thread]:
    """Threads that the interpreter would wait for."""
    main = threading.main_thread()
    return [t for t in threading.enumerate() if not t.daemon and t is not main and t.is_alive()]


def _watch(status: int) -> None:
    for thread in _left():
        thread.join(TOLD_AFTER)
    if not (left := _left()):
        return
    names = ", ".join(repr(str(thread.name)) for thread in left)
    click.echo(f"waiting for threads that a component left running: {names}", err=True)
    for thread in left:
        thread.join(ENDED_AFTER / len(left))
    if _left():
        click.echo(f"they do not end and are left behind: {names}", err=True)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(status)
