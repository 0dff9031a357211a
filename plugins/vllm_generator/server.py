"""The server as this process sees it: started, spoken to with a deadline for every wait, and never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aftertrain.core.errors import RunError
from aftertrain.plugins.vllm_generator.environment import Place, environment
from aftertrain.plugins.vllm_generator.worker import HEAD, Garbled, pack, sizes

WORKER = Path(__file__).with_name("worker.py")
LAST_WORDS = 30
"""Lines of the server's output that an error shows."""
PIECE = 1 << 20
"""Bytes that are handed over or taken at once."""


class Server:
    """A process that runs `worker.py`, and our end of its line. A failure ends it and is told again by later calls.

    Args:
        own: whether the interpreter is the one that runs us.
        variables: of its environment, beside those of this process.
        patience: seconds without a word after which it counts as hung.
    """

    def __init__(self, place: Place, *, own: bool, variables: Mapping[str, str], patience: float) -> None:
        self._patience = patience
        self._failure = ""
        self._inbox: deque[dict[str, Any]] = deque()
        self._received = bytearray()
        # Its temporary files go with it, its output too: what was said last is told when it fails.
        self._folder = Path(tempfile.mkdtemp(prefix="aftertrain-vllm-"))
        self._line, theirs = socket.socketpair()
        self._line.setblocking(False)
        with theirs, (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [place.python, str(WORKER), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                env={**environment(own=own), **variables, "TMPDIR": str(self._folder)},
                start_new_session=True,  # a group of its own, which ends as one, and not by Ctrl-C before us
            )
        self._end = weakref.finalize(self, _end, self._process, self._line, self._folder)

    def tell(self, message: Mapping[str, Any], payload: memoryview | None = None) -> None:
        """Send a message, and raw bytes with it; what the server says meanwhile waits in the inbox.

        Raises:
            RunError: the server is gone, or takes nothing for so long that it counts as hung.
        """
        self.check()
        frame = memoryview(pack(dict(message), 0 if payload is None else payload.nbytes))
        for part in (frame,) if payload is None else (frame, payload):
            place, deadline = 0, time.monotonic() + self._patience
            while place < part.nbytes:
                readable, writable = self._ready(deadline, writing=True)
                if readable:
                    self._take()
                if writable:
                    try:
                        place += self._line.send(part[place : place + PIECE])
                    except BlockingIOError:
                        continue
                    except OSError as error:
                        raise self._lost(error) from error
                    deadline = time.monotonic() + self._patience
                elif not readable:
                    raise self.fail(f"took nothing for {self._patience:g} s ({message.get('do', 'a weight')})")

    def hear(self, waited_for: str, timeout: float | None = None, *, patience: float | None = None) -> dict[str, Any]:
        """The next message.

        Args:
            waited_for: words for an error.
            timeout: seconds after which this call gives up; the server goes on.
            patience: seconds after which the server counts as hung, in place of its own.

        Raises:
            TimeoutError: nothing came within `timeout` seconds.
            RunError: the server failed, is gone, hangs, or sends what is no message.
        """
        self.check()
        start = time.monotonic()
        patience = self._patience if patience is None else patience
        deadline = start + patience
        given = None if timeout is None else start + timeout
        while not self._inbox:
            if self._ready(deadline if given is None else min(given, deadline), writing=False)[0]:
                self._take()
            elif given is not None and time.monotonic() >= given:
                raise TimeoutError(f"the vLLM server: {waited_for} did not come in {timeout:.3g} s")
            elif time.monotonic() >= deadline:
                raise self.fail(f"has said nothing for {patience:g} s; {waited_for} was waited for")
        message = self._inbox.popleft()
        if message.get("said") == "failed":
            raise self._told_failure(message)
        return message

    def expect(self, said: str, patience: float, waited_for: str) -> dict[str, Any]:
        """The next message, which must be of one sort and come within `patience` seconds.

        Raises:
            RunError: another came, or none.
        """
        message = self.hear(waited_for, patience=patience)
        if message.get("said") != said:
            raise self.fail(f"said {message.get('said')!r:.100} where {said!r} was to come")
        return message

    def fail(self, how: str) -> RunError:
        """End the server; the error says how it failed and what it wrote last. Later calls raise it again."""
        lines = self._last_words()
        self._failure = f"the vLLM server {how}" + (f"; its last output:\n{lines}" if lines else "; it wrote nothing")
        self.close()
        return RunError(self._failure)

    def close(self) -> None:
        """End the process and all that it started; returns when it is gone."""
        self._end()

    def check(self) -> None:
        """Say again how the server failed, if it has.

        Raises:
            RunError: it has.
        """
        if self._failure:
            raise RunError(self._failure)

    @property
    def process_id(self) -> int:
        """Of the interpreter that was started."""
        return self._process.pid

    def _ready(self, deadline: float, *, writing: bool) -> tuple[bool, bool]:
        """Whether there is something to read, and room to write, by `deadline` on `time.monotonic`."""
        left = max(0.0, deadline - time.monotonic())
        readable, writable, _ = select.select([self._line], [self._line] if writing else [], [], left)
        return bool(readable), bool(writable)

    def _take(self) -> None:
        """Read what there is."""
        try:
            data = self._line.recv(PIECE)
        except BlockingIOError:
            return
        except OSError as error:
            raise self._lost(error) from error
        if not data:
            if self._inbox:
                return  # its last message says more than its end does
            raise self.fail(f"is gone, {self._ending()}")
        self._received += data
        self._parse()

    def _parse(self) -> None:
        """Put whole messages into the inbox."""
        while len(self._received) >= HEAD.size:
            try:
                text, payload = sizes(bytes(self._received[: HEAD.size]))
                if payload:
                    raise Garbled("raw bytes")
                if len(self._received) < HEAD.size + text:
                    return
                message = json.loads(bytes(self._received[HEAD.size : HEAD.size + text]))
                if not isinstance(message, dict):
                    raise Garbled(f"{message!r:.100}")
            except (Garbled, ValueError) as error:
                raise self.fail(f"sent what is no message ({error!s:.200})") from error
            self._inbox.append(message)
            del self._received[: HEAD.size + text]

    def _told_failure(self, message: Mapping[str, Any]) -> RunError:
        return self.fail(f"failed to {message.get('at')}: {message.get('error')}")

    def _lost(self, error: OSError) -> RunError:
        """The error of a broken line: what the server said before it broke, or how its process ended."""
        with contextlib.suppress(OSError):
            while data := self._line.recv(PIECE):
                self._received += data
        self._parse()
        for message in self._inbox:
            if message.get("said") == "failed":
                return self._told_failure(message)
        return self.fail(f"is gone ({error.strerror}), {self._ending()}")

    def _ending(self) -> str:
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "though its process still runs"
        return f"with status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"

    def _last_words(self) -> str:
        with (self._folder / "log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 65536))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return "\n".join(f"  {line:.300}" for line in lines[-LAST_WORDS:])


def _end(process: subprocess.Popen[bytes], line: socket.socket, folder: Path) -> None:
    """End the process's group, wait for it, and take its folder away."""
    line.close()
    # The group outlives its leader while others are in it, and until we wait its number is nobody else's.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
