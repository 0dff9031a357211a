"""The killed side of `benchmarks/resume.py`: a server that imports everything once and forks a process per attempt.

Reads one JSON request a line on standard input, answers with one line on standard output. A request names the
recipe, the folder of runs, the part of the run to die in (a stage, or `start`), and how:

    {"recipe": "...", "out": "...", "part": "dpo", "after": 0.7}                SIGKILL from outside, seconds into it
    {"recipe": "...", "out": "...", "part": "dpo", "call": 17, "torn": false}   SIGKILL by itself before durable call 17
    {"recipe": "...", "out": "..."}                                             it is left alone

Durable calls are those that a promise rests on: fsync, rename, mkdir, unlink, rmdir, and each event. With `torn`, the
file of a dying fsync first loses a random part of what was written since its last fsync, by whichever process, as in a
power cut; a dying event is written in part.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers.models.llama.modeling_llama  # noqa: F401 (imported before forking, as is all below)

import aftertrain
from aftertrain.core.events import Event, StageStarted
from aftertrain.core.events.diary import EventLog
from aftertrain.core.run import runner  # noqa: F401
from aftertrain.registry import provenance  # noqa: F401
from aftertrain.registry.discovery import installed

DURABLE = ("fsync", "rename", "mkdir", "unlink", "rmdir")
START = "start"
APPENDED = "events.jsonl"
"""The one file that grows after an fsync; all others are written once, under a name of their own."""


class Reaper:
    """Counts durable calls in a forked child and kills it at one of them."""

    def __init__(self, request: dict[str, Any], scratch: Path) -> None:
        self.part, self.die_at, self.torn = request.get("part"), request.get("call"), bool(request.get("torn"))
        self.scratch = scratch
        self.now = ""
        self.counts: Counter[str] = Counter()
        self.enter(START)

    def install(self) -> None:
        """Wrap the operating system's calls and the diary's."""
        for name in DURABLE:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        emit = EventLog.emit

        def counted(log: EventLog, event: Event, stage: str = "", step: int | None = None) -> Any:
            if isinstance(event, StageStarted):
                self.enter(stage)
            if self._dies():
                if self.torn:
                    half = f'{{"name": "{event.event}", "stage": "ü'.encode()
                    os.write(log._file.fileno(), half[: random.randrange(1, len(half))])
                self._die(f"event {event.event}")
            return emit(log, event, stage, step)

        EventLog.emit = counted  # type: ignore[method-assign]

    def enter(self, part: str) -> None:
        """Another part of the run begins; the one to die in is told to the server."""
        self.now = part
        if part == self.part:
            (self.scratch / "entered").touch()

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._dies():
                if self.torn and name == "fsync":
                    self._tear(args[0])
                self._die(name)
            result = real(*args, **kwargs)
            if name == "fsync" and (path := _file(args[0])).endswith(APPENDED):
                (self.scratch / "synced").write_text(json.dumps([path, os.path.getsize(path)]))
            return result

        return call

    def _tear(self, descriptor: int) -> None:
        """Cut the file behind a descriptor somewhere in what its last fsync did not cover."""
        path = _file(descriptor)
        if os.path.isfile(path):
            synced, size = json.loads(_text(self.scratch / "synced") or '["", 0]')
            os.truncate(path, random.randint(size if path == synced else 0, os.path.getsize(path)))

    def _dies(self) -> bool:
        self.counts[self.now] += 1
        return self.now == self.part and self.counts[self.now] == self.die_at

    def _die(self, what: str) -> None:
        (self.scratch / "died").write_text(what)
        os.kill(os.getpid(), signal.SIGKILL)


def _file(descriptor: int) -> str:
    """Path of the file behind a descriptor."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


def attempt(request: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Fork one attempt, kill it as asked, and tell how it ended."""
    for name in ("entered", "died", "calls", "log"):
        (scratch / name).unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _run(request, scratch)
    status = _watch(child, request, scratch)
    return {
        "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        "status": os.waitstatus_to_exitcode(status),
        "at": _text(scratch / "died"),
        "calls": json.loads(_text(scratch / "calls") or "{}"),
        "log": _text(scratch / "log")[-4000:],
    }


def _watch(child: int, request: dict[str, Any], scratch: Path) -> int:
    """Wait for the child's end, and bring it about where the request says so."""
    due = None
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if due is None and "after" in request and (scratch / "entered").exists():
            due = time.monotonic() + request["after"]
        if due is not None and time.monotonic() >= due:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.002)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _run(request: dict[str, Any], scratch: Path) -> None:
    """The child: run the recipe as `aftertrain run` does, and leave without going back to the server's loop."""
    status = 1
    try:
        output = os.open(scratch / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        random.seed()
        reaper = Reaper(request, scratch)
        reaper.install()
        aftertrain.run(request["recipe"], out=request["out"])
        (scratch / "calls").write_text(json.dumps(reaper.counts))
        status = 0
    except BaseException:  # noqa: BLE001 (a forked child must not return into the server)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Say that everything is imported, then serve until standard input ends."""
    torch.set_num_threads(1)
    for row in installed().registrations():
        if row.origin.built_in:
            importlib.import_module(row.component.partition(":")[0])
    scratch = Path(sys.argv[1])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(attempt(json.loads(line), scratch)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
