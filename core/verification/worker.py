"""The child process of a pool: reads verifiers and cases, writes one verdict a line.

Started by path, so that nothing of the parent's main module is imported. The first message is the parent's import path;
only then can the rest of the package be found. What comes in is pickled by the parent; what goes out is JSON, so that a
child gone wrong cannot make its parent run anything.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import pickle
import resource
import select
import signal
import struct
import sys
import threading
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from typing import IO, Any

LENGTH = struct.Struct("!Q")
COUNT = struct.Struct("=Q")
SHOWN = 10_000
"""Characters of `extracted` and `detail` that are handed back."""
FLUSH = 0.01
"""Seconds for which verdicts are gathered: waking the parent for each would cost more than judging."""
MARGIN = 1.0
"""Seconds after its deadline at which the kernel ends a child that nobody has killed (its parent is gone, and a case
that never lets go of the interpreter's lock keeps it from noticing)."""
RESERVE = 64 * 2**20
"""Bytes of address space set aside for telling that there is no more."""


def main() -> None:
    """Serve until the pipe closes. Arguments: file descriptors to read from, to write to, and of the progress page."""
    descriptors = [int(argument) for argument in sys.argv[1:]]
    progress = mmap.mmap(descriptors[2], mmap.PAGESIZE)
    threading.Thread(target=follow, args=(descriptors[0],), daemon=True).start()
    with os.fdopen(descriptors[0], "rb") as inbox, os.fdopen(descriptors[1], "wb", buffering=0) as outbox:
        sys.path[:] = read(inbox)
        limit_memory(read(inbox))
        verifiers: dict[str, Any] = {}
        while (message := read(inbox)) is not None:
            if message[0] == "load":
                tell(outbox, [load(verifiers, *message[1:])])
            else:
                judge(verifiers[message[1]], message[2], message[3], outbox, progress)


def follow(inbox: int) -> None:
    """End this process and all it started as soon as its parent is gone, which closes the pipe's other end."""
    watch = select.poll()
    watch.register(inbox, 0)
    while not any(happened & select.POLLHUP for _, happened in watch.poll()):
        continue
    os.killpg(0, signal.SIGKILL)


def read(inbox: IO[bytes]) -> Any:
    """The next message, None at the end."""
    head = inbox.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return pickle.loads(inbox.read(LENGTH.unpack(head)[0]))


def tell(outbox: IO[bytes], messages: list[dict[str, Any]]) -> None:
    """One line of JSON each; lone surrogates become escapes."""
    lines = memoryview(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
    try:
        while lines:
            lines = lines[outbox.write(lines) :]
    except BrokenPipeError:
        os._exit(1)  # nobody is there to be told


def load(verifiers: dict[str, Any], key: str, pickled: bytes, files: dict[str, str]) -> dict[str, Any]:
    """Unpickle a verifier and let it load what it needs: no case's time is spent on imports.

    Args:
        files: the files of modules that are on no import path (a component from a file beside a recipe).
    """
    sys.meta_path.append(Files(files))
    try:
        verifiers[key] = pickle.loads(pickled)
        verifiers[key].warm_up()
    except Exception as error:  # noqa: BLE001 - whatever a stranger's module raises is told to the parent
        return {"failed": f"{type(error).__name__}: {error}"}
    return {"loaded": key}


class Files(MetaPathFinder):
    """Finds modules by name in a table of files, after everybody else has failed."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """The spec of one of the files."""
        file = self.files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)


def judge(verifier: Any, cases: list[Any], deadline: float, outbox: IO[bytes], progress: mmap.mmap) -> None:
    """One verdict a case, told soon after; `progress` says which case was begun, should this process not outlive it."""
    reserve = mmap.mmap(-1, RESERVE)  # untouched: address space, no memory
    known: list[dict[str, Any]] = []
    told = begun = time.monotonic()
    limit_time(deadline + MARGIN)
    for number, case in enumerate(cases, 1):
        COUNT.pack_into(progress, 0, number)
        if time.monotonic() - begun > MARGIN / 2:
            limit_time(deadline + MARGIN)
            begun = time.monotonic()
        try:
            known.append(plain(verifier.verify([case])))
        except MemoryError:
            reserve.close()
            known.append({"outcome": "error", "detail": "it needs more memory than a case may have", "spent": True})
            tell(outbox, known)
            raise SystemExit from None
        except Exception as error:  # noqa: BLE001 - a verifier that raises loses one case, and says why
            detail = short(f"the verifier raised {type(error).__name__}: {error}")
            known.append({"outcome": "error", "detail": detail})
        if time.monotonic() - told > FLUSH:
            tell(outbox, known)
            known, told = [], time.monotonic()
    tell(outbox, known)
    limit_time(None)


def plain(verdicts: Any) -> dict[str, Any]:
    """The verdict on one case as JSON data.

    Raises:
        TypeError: it is not a list of one verdict.
    """
    if not isinstance(verdicts, list) or len(verdicts) != 1 or not hasattr(verdicts[0], "outcome"):
        raise TypeError(f"verify must return a list of one Verdict per case, not {verdicts!r:.100}")
    (verdict,) = verdicts
    return {
        "outcome": verdict.outcome,
        "value": verdict.value,
        "extracted": short(verdict.extracted),
        "detail": short(verdict.detail),
    }


def short(text: str | None) -> str | None:
    """At most `SHOWN` characters."""
    return text if text is None or len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def limit_memory(size: int) -> None:
    """Bound the address space (where the kernel keeps such a bound); no core files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


def limit_time(seconds: float | None) -> None:
    """Let the kernel end this process after so long, asleep or spinning, should the parent be gone; None: no limit.

    The parent kills at the deadline itself. A timer of the kernel needs neither a thread nor the interpreter's lock.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds or 0.0)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = hard if seconds is None else math.ceil(time.process_time() + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


if __name__ == "__main__":
    main()
