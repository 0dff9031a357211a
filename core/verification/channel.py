"""A worker's two pipes to its pool, out of reach of the code that judges.

Two threads hold them, each with a table of descriptors of its own (`unshare` of Linux); the thread that judges, and all
that it starts, have none of them. So a verifier that closes every descriptor, or writes into every one, changes nothing
between the worker and its pool. Where tables cannot be kept apart, all threads share them.

Standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import struct
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, Any

LENGTH = struct.Struct("!Q")
CLONE_FILES = 0x400
HIGH = 512
"""Number from which the pipes' descriptors lie: an object that the collector closes in one of the two threads by chance
has another."""
STACK = 1 << 18
"""Bytes of a thread's stack."""


class Channel:
    """Messages in, lines of JSON out. Made once, before anything else has been started."""

    def __init__(self, inbox: int, outbox: int) -> None:
        self._incoming: SimpleQueue[bytes | None] = SimpleQueue()
        self._outgoing: SimpleQueue[bytes] = SimpleQueue()
        self._written = threading.Semaphore(0)
        before = threading.stack_size(STACK)
        apart = [self._start(self._receive, inbox), self._start(self._transmit, outbox)]
        threading.stack_size(before)
        if all(apart):
            os.close(inbox)
            os.close(outbox)

    def read(self) -> bytes | None:
        """The next message, None at the end."""
        return self._incoming.get()

    def send(self, messages: list[dict[str, Any]]) -> None:
        """Write one line of JSON for each; returns once the pipe has taken them."""
        self._outgoing.put(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        self._written.acquire()

    def _start(self, work: Any, descriptor: int) -> bool:
        """Start a thread with a table of its own; whether it has one."""
        answers: SimpleQueue[bool] = SimpleQueue()

        def run() -> None:
            own = sys.platform == "linux" and ctypes.CDLL(None).unshare(CLONE_FILES) == 0
            mine = descriptor
            if own:
                with suppress(OSError):  # where so many descriptors are not allowed
                    mine = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH)
            answers.put(own)
            work(mine)

        threading.Thread(target=run, daemon=True).start()
        return answers.get()

    def _receive(self, inbox: int) -> None:
        with os.fdopen(inbox, "rb") as stream:
            while (message := _message(stream)) is not None:
                self._incoming.put(message)
        self._incoming.put(None)

    def _transmit(self, outbox: int) -> None:
        while True:
            lines = memoryview(self._outgoing.get())
            try:
                while lines:
                    lines = lines[os.write(outbox, lines) :]
            except OSError:
                os._exit(1)  # nobody is there to be told
            self._written.release()


def _message(stream: IO[bytes]) -> bytes | None:
    head = stream.read(LENGTH.size)
    return stream.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else None
