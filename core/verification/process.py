"""One child process of a pool, seen from its parent: a keeper, and the worker that it keeps."""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
import os
import pickle
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from aftertrain.core.errors import RunError
from aftertrain.core.records import Verdict
from aftertrain.core.verification import channel, keeper, worker
from aftertrain.core.verification.parcel import Parcel

log = logging.getLogger(__name__)

STARTING = 120.0
"""Seconds a child may take to start or to load a verifier."""
TAKING = 10.0
"""Seconds a child may take to begin a batch, whatever a case may take."""
ENDING = 5.0
"""Seconds a child may take to end when asked to, or from a closed pipe to an exit status; then it is killed."""
LONGEST_LINE = 1_000_000
PIPE = 1 << 20
"""Bytes on their way to a child; the most that any user may ask for."""
MARK = "AFTERTRAIN_JUDGES_FOR"
"""Environment variable by which what a child started is known, should its keeper be lost."""
_CHUNK = 1 << 16
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Died(Exception):
    """The child is gone, or writes what no child of ours writes."""


class Task(NamedTuple):
    """A case on its way: its place in the call, and itself pickled."""

    place: int
    packed: bytes


class Process:
    """A spawned child and its two pipes, both non-blocking; at most one batch is with it at a time.

    Attributes:
        inbox: descriptor to watch for verdicts.
        outbox: descriptor to watch while there is something `outgoing`.
        outgoing: what is still to be written.
        tasks: those of the batch that have no verdict yet; the first is being judged.
        served: cases judged so far.
        spent: it ran out of memory over the first of `tasks`, not having begun with it, and ends itself.
        ended: its pool was closed.
        babbled: it wrote what is no verdict, and is not to be used any more.
        loading: it is starting or loading a verifier.

    Raises:
        OSError: the system has no room for a further process or its pipes.
    """

    def __init__(self, memory: int) -> None:
        opened: list[int] = []
        try:
            child_in, self.outbox = _pipe(opened)
            self.inbox, child_out = _pipe(opened)
            page = _shared_page()
            opened.append(page)
            self._progress = mmap.mmap(page, mmap.PAGESIZE)
            self._mark = secrets.token_hex(16)
            descriptors = (child_in, child_out, page)
            command = [sys.executable, "-I", "-S", str(Path(keeper.__file__)), *map(str, descriptors)]
            self._popen = subprocess.Popen(
                [*command, sys.executable, str(Path(worker.__file__))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=descriptors,
                env=os.environ | _ONE_THREAD | {"TOKENIZERS_PARALLELISM": "false", MARK: self._mark},
                start_new_session=True,  # its descendants are killed with it
            )
            opened.remove(self.outbox)
            opened.remove(self.inbox)
        finally:
            for descriptor in opened:
                os.close(descriptor)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # the user's pipes hold as much as they may already
                fcntl.fcntl(self.outbox, fcntl.F_SETPIPE_SZ, PIPE)
        os.set_blocking(self.inbox, False)
        os.set_blocking(self.outbox, False)
        self.tasks: deque[Task] = deque()
        self.served = 0
        self.spent = False
        self.ended = False
        self.babbled = False
        self.loading = False
        self._threads = 0
        self._loaded: set[str] = set()
        self._since = time.monotonic()
        self._timeout = STARTING
        self._token = ""
        self._given = 0
        self._received = b""
        self.outgoing: deque[memoryview] = deque()
        self._put(sys.path)
        self._put(memory)

    @property
    def pid(self) -> int:
        """Process id of the worker, or of its keeper while there is no worker yet."""
        return self._noted(keeper.WORKER) or self._popen.pid

    @property
    def begun(self) -> int:
        """Cases of its batch that it has begun."""
        return self._noted(keeper.BEGUN)

    @property
    def overdue(self) -> float:
        """Monotonic time at which what it is doing has taken too long."""
        if self.loading:
            return self._since + STARTING
        if not self.begun:
            return self._since + max(self._timeout, TAKING)
        (began,) = keeper.MOMENT.unpack_from(self._progress, keeper.BEGAN)
        return (began if self._since < began <= time.monotonic() else self._since) + self._timeout

    def give(self, parcel: Parcel, tasks: Sequence[Task], timeout: float) -> None:
        """Start a batch with the verifier in `parcel`; `timeout` is in seconds per case."""
        self._token = secrets.token_hex(8)
        if parcel.key not in self._loaded:
            self._loaded.add(parcel.key)
            self.loading = True
            self._put(("load", self._token, parcel.key, parcel.pickled, parcel.files))
        self._put(("judge", self._token, parcel.key, [task.packed for task in tasks]))
        self.tasks.extend(tasks)
        self._timeout = timeout
        self._given = len(tasks)
        keeper.NUMBER.pack_into(self._progress, keeper.BEGUN, 0)
        self._since = time.monotonic()
        self.send()

    def send(self) -> None:
        """Write what the pipe takes now.

        Raises:
            Died: nobody reads.
        """
        try:
            while self.outgoing:
                written = os.write(self.outbox, self.outgoing[0])
                self._since = time.monotonic()  # a long text's way through the pipe is not its case's time
                self.outgoing[0] = self.outgoing[0][written:]
                if not self.outgoing[0]:
                    self.outgoing.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            raise Died from error

    def receive(self) -> list[tuple[int, Verdict]]:
        """Verdicts that have come in, with their indices.

        Raises:
            Died: the pipe is closed or holds something else. RunError: the verifier cannot be loaded there.
        """
        try:
            data = os.read(self.inbox, _CHUNK)
        except BlockingIOError:
            return []
        if not data:
            raise Died
        *lines, self._received = (self._received + data).split(b"\n")
        verdicts = []
        for line in lines:
            if verdict := self._read(line):
                verdicts.append(verdict)
            if self.babbled:
                break  # what came before it holds; the closing of the pipe is found next
        if len(self._received) > LONGEST_LINE:
            self.babbled = True
        if self.babbled and not verdicts:
            raise Died
        return verdicts

    def _read(self, line: bytes) -> tuple[int, Verdict] | None:
        """The verdict in a line that this batch's worker wrote; any other line shows that something else writes."""
        try:
            message = json.loads(line)
            if message["token"] != self._token:
                raise ValueError("another token")
            self._since = time.monotonic()
            if "failed" in message:
                raise RunError(f"a verifier cannot be loaded in a process of its own: {message['failed']}")
            if "loaded" in message:
                self.loading = False
                self._threads = self._count_threads()
                return None
            if message["number"] != self._given - len(self.tasks) + 1:
                raise ValueError("another case")
            if "spent" in message and self.served:
                self.spent = True
                return None
            fields = {name: message.get(name) for name in ("outcome", "value", "extracted", "reward")}
            verdict = Verdict(**fields, detail=message.get("detail") or "")
            task = self.tasks.popleft()
        except (ValueError, TypeError, KeyError, IndexError, RecursionError):
            self.babbled = True
            return None
        self.served += 1
        return task.place, verdict

    def suspect(self) -> Task | None:
        """Take the case that was being judged, if any was, out of `tasks`.

        Verdicts that were known but not told are lost; their cases stay in `tasks` and are judged again.
        """
        ahead = self.begun - 1 - (self._given - len(self.tasks))
        if not 0 <= ahead < len(self.tasks):
            return None
        task = self.tasks[ahead]
        del self.tasks[ahead]
        return task

    @property
    def crowded(self) -> bool:
        """Whether threads run in it that it had not when it began to judge, and cases before the present one may have
        left them."""
        others = self.served or self.begun > 1
        return bool(others) and self._count_threads() > self._threads

    def _count_threads(self) -> int:
        try:
            return len(os.listdir(f"/proc/{self.pid}/task"))
        except OSError:  # it is gone, or there is no /proc
            return 0

    @property
    def alive(self) -> bool:
        """Whether it still runs. One that was killed may seem to for a moment, until its last thread is gone."""
        return self._popen.poll() is None

    def why_lost(self) -> str:
        """How it ended."""
        if self.babbled:
            return "its process wrote what is no verdict"
        try:
            status = self._popen.wait(ENDING)  # its pipe is closed: its exit is at most a moment away
        except subprocess.TimeoutExpired:
            return "its process closed its pipe"
        if status < 0:
            return f"its process was ended by {signal_name(-status)}"
        return f"its process ended with exit status {status}"

    def rouse(self) -> None:
        """Let a keeper that was stopped go on; it does the same for its worker."""
        if hasattr(os, "waitid") and self._popen.returncode is None:
            with suppress(ChildProcessError, ProcessLookupError):
                if os.waitid(os.P_PID, self._popen.pid, os.WSTOPPED | os.WNOHANG) is not None:
                    os.kill(self._popen.pid, signal.SIGCONT)

    def end(self) -> None:
        """Ask it to end with its descendants, from whatever thread; whoever uses it finds its pipe closed."""
        self.ended = True
        self._ask()

    def kill(self) -> None:
        """End it and its descendants, and close its pipes."""
        self._ask()
        try:
            self._popen.wait(ENDING if sys.platform == "linux" else 0)
        except subprocess.TimeoutExpired:
            log.debug("process %d does not end when asked to", self._popen.pid)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()
        if not self._noted(keeper.SWEPT):
            self._hunt()
        self._close_pipes()

    def abandon(self) -> None:
        """Forget a child that belongs to the process this one was forked from."""
        self._close_pipes()
        self._popen.returncode = 0

    def _close_pipes(self) -> None:
        os.close(self.inbox)
        os.close(self.outbox)

    def _ask(self) -> None:
        for number in (signal.SIGTERM, signal.SIGCONT):
            with suppress(ProcessLookupError):
                self._popen.send_signal(number)

    def _hunt(self) -> None:
        """Kill what bears this child's mark: its keeper was lost before it had done so."""
        mark = f"{MARK}={self._mark}".encode()
        until = time.monotonic() + keeper.SWEEPING
        while (left := {pid for pid in keeper.all_parents() if mark in _environment(pid)}) and time.monotonic() < until:
            keeper.send(left, signal.SIGKILL)
            time.sleep(0.001)

    def _noted(self, place: int) -> int:
        return int(keeper.NUMBER.unpack_from(self._progress, place)[0])

    def _put(self, message: Any) -> None:
        body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        self.outgoing.append(memoryview(channel.LENGTH.pack(len(body)) + body))


def signal_name(number: int) -> str:
    """A signal's name, real-time ones counted from the first.

    >>> signal_name(9), signal_name(signal.SIGRTMIN + 2)
    ('SIGKILL', 'SIGRTMIN+2')
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        first = getattr(signal, "SIGRTMIN", number + 1)
        return f"SIGRTMIN+{number - first}" if number > first else f"signal {number}"


def _pipe(opened: list[int]) -> tuple[int, int]:
    ends = os.pipe()
    opened += ends
    return ends


def _environment(pid: int) -> bytes:
    """What a process was started with; nothing of one that is gone or another user's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _shared_page() -> int:
    """A descriptor of one page of memory that a child can map too."""
    if hasattr(os, "memfd_create"):
        page = os.memfd_create("aftertrain-progress", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as file:
            page = os.dup(file.fileno())
    os.ftruncate(page, mmap.PAGESIZE)
    return page
