"""One child process of a pool, seen from its parent."""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aftertrain.core.errors import RunError
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.verification import worker
from aftertrain.core.verification.parcel import Parcel

log = logging.getLogger(__name__)

STARTING = 120.0
"""Seconds a child may take to start or to load a verifier."""
DYING = 0.2
"""Seconds from a closed pipe to an exit status."""
LONGEST_LINE = 1_000_000
PIPE = 1 << 20
"""Bytes on their way to a child; the most that any user may ask for."""
OUT_OF_TIME = (-signal.SIGALRM, -signal.SIGXCPU)
"""Exit statuses of a child that the kernel ended at its time limit."""
_CHUNK = 1 << 16
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Died(Exception):
    """The child is gone, or writes what no child of ours writes."""


class Process:
    """A spawned child and its two pipes, both non-blocking; at most one batch is with it at a time.

    Attributes:
        inbox: descriptor to watch for verdicts.
        outbox: descriptor to watch while `sending`.
        tasks: (index, case) of the batch that have no verdict yet; the first is being judged.
        served: cases judged so far.
        spent: it has run out of memory and ends itself.
        ended: its pool was closed.
    """

    def __init__(self, memory: int) -> None:
        child_in, self.outbox = os.pipe()
        self.inbox, child_out = os.pipe()
        page = _shared_page()
        self._progress = mmap.mmap(page, mmap.PAGESIZE)
        descriptors = (child_in, child_out, page)
        command = [sys.executable, str(Path(worker.__file__)), *map(str, descriptors)]
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=descriptors,
                env=os.environ | _ONE_THREAD | {"TOKENIZERS_PARALLELISM": "false"},
                start_new_session=True,  # its descendants are killed with it
            )
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self.outbox, fcntl.F_SETPIPE_SZ, PIPE)
        os.set_blocking(self.inbox, False)
        os.set_blocking(self.outbox, False)
        self.tasks: deque[tuple[int, VerificationCase]] = deque()
        self.served = 0
        self.spent = False
        self.ended = False
        self._babbled = False
        self._loaded: set[str] = set()
        self._loading = False
        self._since = time.monotonic()
        self._deadline = STARTING
        self._given = 0
        self._received = bytearray()
        self._outgoing: deque[memoryview] = deque()
        self._put(sys.path)
        self._put(memory)

    @property
    def pid(self) -> int:
        """Process id, which is its process group's too."""
        return self._popen.pid

    @property
    def sending(self) -> bool:
        """Whether there is something to write."""
        return bool(self._outgoing)

    @property
    def overdue(self) -> float:
        """Monotonic time at which what it is doing has taken too long."""
        return self._since + (STARTING if self._loading else self._deadline)

    @property
    def loading(self) -> bool:
        """Whether it is starting or loading a verifier."""
        return self._loading

    def give(self, parcel: Parcel, tasks: Sequence[tuple[int, VerificationCase]], deadline: float) -> None:
        """Start a batch with the verifier in `parcel`; `deadline` is in seconds per case."""
        if parcel.key not in self._loaded:
            self._loaded.add(parcel.key)
            self._loading = True
            self._put(("load", parcel.key, parcel.pickled, parcel.files))
        self._put(("judge", parcel.key, [case for _, case in tasks], deadline))
        self.tasks.extend(tasks)
        self._deadline = deadline
        self._given = len(tasks)
        worker.COUNT.pack_into(self._progress, 0, 0)
        self._since = time.monotonic()
        self.send()

    def send(self) -> None:
        """Write what the pipe takes now.

        Raises:
            Died: nobody reads.
        """
        try:
            while self._outgoing:
                written = os.write(self.outbox, self._outgoing[0])
                self._since = time.monotonic()  # a long text's way through the pipe is not its case's time
                self._outgoing[0] = self._outgoing[0][written:]
                if not self._outgoing[0]:
                    self._outgoing.popleft()
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
        self._received += data
        *lines, rest = self._received.split(b"\n")
        self._received = bytearray(rest)
        if len(rest) > LONGEST_LINE:
            self._babbled = True
            raise Died
        found = [verdict for line in lines if (verdict := self._read(bytes(line))) is not None]
        self._since = time.monotonic()
        return found

    def _read(self, line: bytes) -> tuple[int, Verdict] | None:
        try:
            message = json.loads(line)
            if "failed" in message:
                raise RunError(f"a verifier cannot be loaded in a process of its own: {message['failed']}")
            if "loaded" in message:
                self._loading = False
                return None
            fields = {name: message.get(name) for name in ("outcome", "value", "extracted")}
            verdict = Verdict(**fields, detail=message.get("detail") or "")
            index, _ = self.tasks.popleft()
        except (ValueError, TypeError, IndexError) as error:
            self._babbled = True
            raise Died from error
        self.served += 1
        self.spent = "spent" in message
        return index, verdict

    def culprit(self) -> int:
        """Take the case that was being judged out of `tasks`, and return its index.

        Verdicts that were known but not told are lost; their cases stay in `tasks` and are judged again.
        """
        (begun,) = worker.COUNT.unpack_from(self._progress, 0)
        answered = self._given - len(self.tasks)
        place = min(max(begun - 1 - answered, 0), len(self.tasks) - 1)
        index, _ = self.tasks[place]
        del self.tasks[place]
        return index

    @property
    def blameless(self) -> bool:
        """Whether a lost child had come to no case of its batch though it had judged others: it died before, idle."""
        (begun,) = worker.COUNT.unpack_from(self._progress, 0)
        return begun == 0 and self.served > 0

    @property
    def alive(self) -> bool:
        """Whether it still runs. One that was killed may seem to for a moment, until its last thread is gone."""
        return self._popen.poll() is None

    def last_verdict(self) -> Verdict:
        """That of the case which a lost child was judging."""
        if not self._babbled and self._status() in OUT_OF_TIME:
            return Verdict.timeout(f"no verdict in {self._deadline:g} s")
        return Verdict.error(f"the verifier failed: {self.why_lost()}")

    def why_lost(self) -> str:
        """How it ended."""
        if self._babbled:
            return "its process wrote what is no verdict"
        status = self._status()
        if status is None:
            return "its process closed its pipe"
        if status < 0:
            return f"its process was ended by {signal.Signals(-status).name}"
        return f"its process ended with exit status {status}"

    def _status(self) -> int | None:
        """Of a child whose pipe is closed: its exit is at most a moment away."""
        try:
            return self._popen.wait(DYING)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """End it and its descendants at once, from whatever thread; whoever uses it finds its pipe closed."""
        self.ended = True
        kill_group(self._popen)

    def kill(self) -> None:
        """End it and its descendants at once, and its pipes."""
        kill_group(self._popen)
        for descriptor in (self.inbox, self.outbox):
            os.close(descriptor)

    def abandon(self) -> None:
        """Forget a child that belongs to the process this one was forked from."""
        for descriptor in (self.inbox, self.outbox):
            os.close(descriptor)
        self._popen.returncode = 0

    def _put(self, message: Any) -> None:
        body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        self._outgoing.append(memoryview(worker.LENGTH.pack(len(body)) + body))


def _shared_page() -> int:
    """A descriptor of one page of memory that a child can map too."""
    if hasattr(os, "memfd_create"):
        page = os.memfd_create("aftertrain-progress")
    else:
        with tempfile.TemporaryFile() as file:
            page = os.dup(file.fileno())
    os.ftruncate(page, mmap.PAGESIZE)
    return page


def kill_group(popen: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process group that was started as a session of its own, and reap its leader."""
    try:
        os.killpg(popen.pid, signal.SIGKILL)
    except ProcessLookupError:
        log.debug("process %d had ended", popen.pid)
    popen.wait()
