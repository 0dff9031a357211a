"""Running something in a process of its own: for what imports, for another hash seed, for what may hang."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from aftertrain.registry.load import load_file, local_files
from aftertrain.testing.promise import BrokenPromise

START_SECONDS = 60.0
LEAVE_SECONDS = 10.0


@lru_cache(maxsize=128)
def modules_after(code: str) -> frozenset[str]:
    """Names in `sys.modules` of a new interpreter that has run `code`.

    Raises:
        BrokenPromise: the code failed; the message ends with its traceback.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    shown = f"{code}\nimport sys; print('\\n'.join(['', '--modules--', *sys.modules]))"
    process = subprocess.run(
        [sys.executable, "-c", shown], capture_output=True, text=True, env=environment, check=False
    )
    if process.returncode:
        raise BrokenPromise(f"a new process that ran {code!r} failed:\n{process.stderr[-2000:]}")
    return frozenset(process.stdout.partition("--modules--\n")[2].split())


def in_child(
    work: Callable[[Any, Callable[[str], None]], Any], argument: Any, *, patience: float, doing: str = "it"
) -> Any:
    """`work(argument, tell)` in a new process, which is killed when it says nothing for `patience` seconds.

    Args:
        work: a function of a module; `tell(words)` says what it does next and restarts the clock.
        doing: what to call the work until it first tells.

    Raises:
        BrokenPromise: it raised, died or had to be killed; names what it was doing.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(local_files(), pickle.dumps((work, argument)), theirs), daemon=True)
    child.start()
    theirs.close()
    started = False
    try:
        while True:
            limit = patience if started else max(patience, START_SECONDS)
            if not ours.poll(limit):
                raise BrokenPromise(f"{doing} did not end within {limit:g} seconds; its process was killed")
            started = True
            try:
                what, value = ours.recv()
            except EOFError:
                child.join()
                raise BrokenPromise(f"{doing} killed its process (exit code {child.exitcode})") from None
            if what == "doing":
                doing = value
            elif what == "raised":
                raise BrokenPromise(f"{doing} raised {value}")
            else:
                # Killed while it tidies up, it would leave semaphores behind.
                child.join(LEAVE_SECONDS)
                return value
    finally:
        child.kill()
        child.join()
        child.close()
        ours.close()


def _child(files: Sequence[Path], pickled: bytes, pipe: Connection) -> None:
    try:
        for file in files:
            load_file(file)
        work, argument = pickle.loads(pickled)
        result = work(argument, lambda words: pipe.send(("doing", words)))
        pipe.send(("result", result))
    except BaseException as error:  # noqa: BLE001  whatever it is, the parent must be told
        pipe.send(("raised", f"{type(error).__name__}: {error}"))
