"""The process that judges: reads verifiers and cases, writes one verdict a line.

Started by path, by its keeper, so that nothing of the parent's main module is imported. The first message is the
parent's import path; only then can the rest of the package be found. What comes in is pickled by the parent; what goes
out is JSON, so that a child gone wrong cannot make its parent run anything. Each line bears the token of its batch,
which the verifier is not told, and the case's number in it.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import pickle
import resource
import signal
import sys
import time
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aftertrain.core.verification.channel import Channel

FLUSH = 0.01
"""Seconds for which verdicts are gathered: waking the parent for each would cost more than judging."""
RESERVE = 64 * 2**20
"""Bytes of address space set aside for telling that there is no more."""
DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG` of prctl(2)."""
ADD_SEALS, SEAL_FUTURE_WRITE = 1033, 0x10
"""`F_ADD_SEALS` and `F_SEAL_FUTURE_WRITE` of fcntl(2)."""


def main() -> None:
    """Serve until the pipe closes. Arguments: descriptors of inbox, outbox and page, and the keeper's process id."""
    inbox, outbox, page, keeper = map(int, sys.argv[1:])
    end_with(keeper)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    progress = mmap.mmap(page, mmap.PAGESIZE)
    with suppress(OSError):  # what is mapped stays writable, but no longer by descriptors, which a verifier may try out
        fcntl.fcntl(page, ADD_SEALS, SEAL_FUTURE_WRITE)
    os.close(page)
    channel: Channel = beside("channel").Channel(inbox, outbox)
    sys.path[:] = pickle.loads(channel.read() or b"")
    limit_memory(pickle.loads(channel.read() or b""))
    verifiers: dict[str, Any] = {}
    while (message := channel.read()) is not None:
        kind, token, *order = pickle.loads(message)
        if kind == "load":
            channel.send([{"token": token, **load(verifiers, *order)}])
        else:
            key, cases = order
            judge(verifiers[key], cases, token, channel, progress)
    os._exit(0)


def beside(name: str) -> ModuleType:
    """A module of this folder, by path: the package cannot be found yet."""
    spec = spec_from_file_location(f"_aftertrain_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def end_with(keeper: int) -> None:
    """Let the kernel end this process when its keeper is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != keeper:
        os._exit(1)


def load(verifiers: dict[str, Any], key: str, pickled: bytes, files: dict[str, str]) -> dict[str, Any]:
    """Unpickle a verifier and let it load what it needs: no case's time is spent on imports.

    Args:
        files: the files of modules that are on no import path (a component from a file beside a recipe).
    """
    from aftertrain.core.ground.cleaning import described

    sys.meta_path.append(Files(files))
    try:
        verifiers[key] = pickle.loads(pickled)
        verifiers[key].warm_up()
    except BaseException as error:  # noqa: BLE001 - whatever a stranger's module raises is told to the parent
        return {"failed": described(error)}
    return {"loaded": key}


class Files(MetaPathFinder):
    """Finds modules by name in a table of files, after everybody else has failed."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """The spec of one of the files."""
        file = self.files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)


def judge(verifier: Any, cases: list[bytes], token: str, channel: Channel, progress: mmap.mmap) -> None:
    """One verdict a case, sent soon after; `progress` says which case was begun, should this process not outlive it."""
    from aftertrain.core.verification.judging import judged
    from aftertrain.core.verification.keeper import BEGAN, BEGUN, MOMENT, NUMBER

    reserve = mmap.mmap(-1, RESERVE)  # untouched: address space, no memory
    known: list[dict[str, Any]] = []
    sent = time.monotonic()
    for number, case in enumerate(cases, 1):
        MOMENT.pack_into(progress, BEGAN, time.monotonic())
        NUMBER.pack_into(progress, BEGUN, number)
        try:
            verdict = judged(verifier, case)
        except MemoryError:
            reserve.close()
            spent = {"outcome": "error", "detail": "it needs more memory than a case may have", "spent": True}
            channel.send([*known, {"token": token, "number": number, **spent}])
            os._exit(0)
        known.append({"token": token, "number": number, **verdict})
        if time.monotonic() - sent > FLUSH:
            channel.send(known)
            known, sent = [], time.monotonic()
    if known:
        channel.send(known)


def limit_memory(size: int) -> None:
    """Bound the address space, where the kernel keeps such a bound."""
    if sys.platform != "linux":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


if __name__ == "__main__":
    main()
