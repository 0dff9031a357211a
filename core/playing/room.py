"""The process in which an environment's episodes are run, seen from its parent."""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from aftertrain.core.environment import Environment, Observation
from aftertrain.core.errors import RunError
from aftertrain.core.playing import host
from aftertrain.core.records import Message, ToolCall, Verdict
from aftertrain.core.verification.parcel import Parcel

STARTING = 120.0
"""Seconds the process may take to start and to load the environment."""
_CHUNK = 1 << 16


class Lost(Exception):
    """The process is gone, or writes what no process of ours writes."""


class Room:
    """One process; asked one thing at a time.

    Raises:
        RunError: the environment cannot be sent there, or cannot be loaded there.
    """

    def __init__(self, environment: Environment[Any]) -> None:
        parcel = Parcel.of(environment)
        child_in, self._outbox = os.pipe()
        self._inbox, child_out = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(host.__file__)), str(child_in), str(child_out), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(child_in, child_out),
                start_new_session=True,  # what an episode starts is ended with it
            )
        finally:
            os.close(child_in)
            os.close(child_out)
        self._received = b""
        try:
            loaded = self._exchange([sys.path, (parcel.pickled, parcel.files)], STARTING)
        except (TimeoutError, Lost) as error:
            self.close()
            raise RunError(f"the environment cannot be run in a process of its own: {error or 'no answer'}") from error
        if "failed" in loaded:
            self.close()
            raise RunError(f"the environment cannot be loaded in a process of its own: {loaded['failed']}")

    def ask(self, order: tuple[str, int, tuple[object, ...]], timeout: float) -> Any:
        """What came of one order: messages, an observation, what was earned, a verdict, or nothing.

        Raises:
            TimeoutError: no answer within so many seconds. Lost: the process ended.
        """
        answer = self._exchange([order], timeout)
        if "verdict" in answer:
            return Verdict(answer["verdict"], None, None, str(answer["detail"]))
        if "earned" in answer:
            return float(answer["earned"])
        if "messages" not in answer:
            return None
        messages = tuple(_message(fields) for fields in answer["messages"])
        if "done" not in answer:
            return messages
        return Observation(messages, float(answer["reward"]), bool(answer["done"]))

    def close(self) -> None:
        """End the process, and what it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._outbox)
        os.close(self._inbox)

    def _exchange(self, messages: list[Any], timeout: float) -> dict[str, Any]:
        try:
            for message in messages:
                packed = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
                _write(self._outbox, host.LENGTH.pack(len(packed)) + packed)
        except BrokenPipeError:
            raise Lost(self._end()) from None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._inbox], [], [], left)[0]:
                raise TimeoutError
            data = os.read(self._inbox, _CHUNK)
            if not data:
                raise Lost(self._end())
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise Lost(f"it wrote what is no answer ({error})") from error
        return answer

    def _end(self) -> str:
        """How the process ended, in words."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5.0)
        status = self._process.returncode
        return "it closed its line" if status is None else f"it ended with status {status}"


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _message(fields: dict[str, Any]) -> Message:
    calls = tuple(ToolCall(**call) for call in fields.pop("tool_calls"))
    return Message(**fields, tool_calls=calls)
