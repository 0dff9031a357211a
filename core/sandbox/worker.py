"""The owner's side of one sandbox process: starts it, hands it programs, takes in what they write."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from aftertrain.core.errors import AftertrainError
from aftertrain.core.sandbox import cgroup, delegation
from aftertrain.core.sandbox.limits import Limits
from aftertrain.core.sandbox.orders import STOP

LevelName = Literal["bubblewrap", "namespaces", "rlimits"]
START = 20.0
"""Seconds that the process may take to be ready, generous for a busy machine."""
GRACE = 0.5
"""Seconds beyond a program's time after which the process itself is given up."""
HERE = Path(__file__).resolve().parent
RELIES_ON = ("aftertrain.core.sandbox.zygote",)
BOOT = """
import sys, types
for name, path in (("aftertrain", None), ("aftertrain.core", None), ("aftertrain.core.sandbox", sys.argv[1])):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path] if path else []
from aftertrain.core.sandbox import zygote
zygote.main(sys.argv[2])
"""
"""Loads the modules of this folder without the package around them, which imports what a sandbox has no use for."""

immovable: set[str] = set()
"""Pythons that start nowhere but where they were installed."""
_grouped = threading.Event()
"""Whether programs of this process have been kept in a control group."""
log = logging.getLogger("aftertrain.sandbox")


class SandboxError(AftertrainError):
    """A sandbox that cannot be had, or that broke."""


@dataclass(frozen=True, slots=True)
class Raw:
    """What a case left.

    Attributes:
        status: the child's (negative: signal); None where it was ended for `why`.
        outputs: what came out of each pipe.
        seconds: wall time.
        changed: what is different about the process that keeps programs, for people; it serves no longer.
    """

    status: int | None
    why: str
    outputs: tuple[bytes, ...]
    seconds: float
    changed: str = ""


class Worker:
    """One process that does one thing at a time. Not for several threads at once: `sandbox.Sandbox` is.

    Args:
        level: its walls.
        limits: what a program may use.
        packages: folders of packages that programs may import.
        bwrap: where the program of that name is.
        role: `programs` runs programs, `tests` examines them.

    Attributes:
        pid: the process that was started.
        counts: whether the memory of all processes of a program together is counted.
        ungrouped: why programs are in no control group that counts and limits their memory; empty where they are.
        line: the examiner's end of a line to the next program, where programs are kept.

    Raises:
        SandboxError: the level cannot be had here; the message says at which step.
    """

    def __init__(
        self, level: LevelName, limits: Limits, packages: Sequence[str] = (), bwrap: str = "", role: str = "programs"
    ) -> None:
        self.level, self.limits = level, limits
        self.line: socket.socket | None = None
        # The virtual environment's own program would look for files that a sandbox does not show.
        python = getattr(sys, "_base_executable", None) or sys.executable
        config: dict[str, Any] = {
            "level": level,
            "role": role,
            "limits": asdict(limits),
            "packages": list(packages),
            "code": str(HERE),
            "python": [python, "-s", "-S", "-P", "-B", "-X", "utf8", "-c", BOOT, str(HERE)],
            "bwrap": bwrap,
        }
        try:
            self._start({**config, "own_names": python in immovable})
        except SandboxError as error:
            if level == "rlimits" or python in immovable:
                raise
            self._start({**config, "own_names": True})
            immovable.add(python)
            log.info("Python does not start under another name (%s): programs see where it is installed", error)
        self.ungrouped = self._group() if role == "programs" else ""

    def _start(self, config: dict[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*config["python"], json.dumps(config)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={"PYTHONHASHSEED": "0"},
                start_new_session=True,
            )
            self.control, self.pid = ours, process.pid
            self._groups: list[cgroup.Group] = []
            self._lines: list[socket.socket] = []
            self._finish = weakref.finalize(self, _end, process, ours, self._lines, self._groups)
            answer = self.answer(START)
            if not answer or "ready" not in answer:
                self.close()
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines()
                reason = (answer or {}).get("failed") or " / ".join(lines[-2:]) or "it ended without a word"
                raise SandboxError(f"sandbox level {self.level}: {reason}")
            self.counts = answer.get("counts", False)

    def _group(self) -> str:
        """Have programs run in a control group of this worker's own; why that cannot be had.

        Raises:
            SandboxError: the process ended over it.
        """
        try:
            group = cgroup.make(cgroup.files(self.limits))
            self._groups.append(group)
            descriptors = group.open()
        except delegation.NoGroups as error:
            reason = str(error)
        else:
            self.order("group", descriptors, START)
            for descriptor in descriptors:
                os.close(descriptor)
            answer = self.answer(START)
            if answer is None:
                self.close()
                raise SandboxError(f"sandbox level {self.level}: the process ended on its way to a control group")
            reason = answer["group"]
        if not reason:
            _grouped.set()
            return ""
        for group in self._groups:
            group.remove()
        if _grouped.is_set():
            log.warning("programs are in no control group any more: %s. Memory is counted in /proc only", reason)
        return reason

    def order(self, mode: str, descriptors: Sequence[int], timeout: float, **more: str) -> None:
        """Send an order, with what `more` names.

        Raises:
            SandboxError: the process is gone.
        """
        line = json.dumps({"mode": mode, "timeout": timeout, **more}).encode() + b"\n"
        try:
            socket.send_fds(self.control, [line], list(descriptors))
        except OSError as error:
            raise SandboxError(f"the sandbox's process is gone: {error}") from error

    def stop(self) -> None:
        """Ask for the end of the program that runs."""
        with contextlib.suppress(OSError):
            self.control.sendall(STOP)

    def run(self, program: bytes, stdin: bytes, most: int, timeout: float) -> Raw:
        """Run a script; of its outputs, at most `most` bytes each.

        Raises:
            SandboxError: the process broke; this worker is of no use any more.
        """
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(sealed(content)) for content in (program, stdin)]
            readers, writers = zip(*(_pipe(stack) for _ in range(2)), strict=True)
            self.order("script", [file.fileno() for file in (*files, *writers)], timeout)
            for file in (*files, *writers):
                file.close()
            outputs, flooded = drain(readers, most, started + timeout + GRACE)
            if flooded:
                self.stop()
        answer = self.answer(max(0.0, started + timeout - time.monotonic()) + 2 * GRACE)
        if answer is None:
            self.close()
            raise SandboxError("the sandbox's process ended or does not answer")
        why = "output" if flooded else answer.get("why", "")
        status = None if flooded else answer["status"]
        return Raw(status, why, outputs, time.monotonic() - started, answer.get("changed", ""))

    def answer(self, timeout: float) -> dict[str, Any] | None:
        """The next line of the process; None when it ended or said nothing in time."""
        data = b""
        deadline = time.monotonic() + timeout
        while not data.endswith(b"\n"):
            self.control.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                part, descriptors, _, _ = socket.recv_fds(self.control, 65536, 1)
            except OSError:
                return None
            if descriptors:
                if self.line:
                    self.line.close()
                self.line = socket.socket(fileno=descriptors[0])
                self._lines[:] = [self.line]
            if not part:
                return None
            data += part
        self.control.settimeout(None)
        answer = json.loads(data)
        return answer if isinstance(answer, Mapping) else None  # type: ignore[return-value]

    def close(self) -> None:
        """End the process and everything in it."""
        self._finish()
        if self.line:
            self.line.close()
            self.line = None


def _pipe(stack: contextlib.ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    reader, writer = os.pipe()
    os.fchmod(writer, 0o666)  # a program of another user may open it again by /dev/stdout
    return (
        stack.enter_context(open(reader, "rb", buffering=0)),
        stack.enter_context(open(writer, "wb", buffering=0)),
    )


def drain(readers: Sequence[IO[bytes] | socket.socket], most: int, deadline: float) -> tuple[tuple[bytes, ...], bool]:
    """Read all pipes and sockets to their ends; the bytes of each, and whether one brought more than `most`."""
    contents = [bytearray() for _ in readers]
    with selectors.DefaultSelector() as selector:
        for number, reader in enumerate(readers):
            selector.register(reader, selectors.EVENT_READ, number)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                part = os.read(key.fd, 2**16)
                contents[key.data] += part
                if not part:
                    selector.unregister(key.fileobj)
                elif len(contents[key.data]) > most:
                    return tuple(bytes(content[:most]) for content in contents), True
    return tuple(map(bytes, contents)), False


def _end(
    process: subprocess.Popen[bytes],
    control: socket.socket,
    lines: Sequence[socket.socket],
    groups: Sequence[cgroup.Group],
) -> None:
    for end in (control, *lines):
        end.close()
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for group in groups:
        if not group.remove():
            log.warning("the control group %s cannot be removed", group.folder)


def sealed(content: bytes) -> IO[bytes]:
    """A file with that content which nobody can change, where the system has such files."""
    in_memory = hasattr(os, "memfd_create")
    if in_memory:
        descriptor = os.memfd_create("aftertrain", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    file: IO[bytes] = open(descriptor, "w+b") if in_memory else tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    file.write(content)
    file.flush()
    if in_memory:
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    file.seek(0)
    return file
