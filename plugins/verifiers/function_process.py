"""A reward function in a process of its own, which can be killed: calls out, rewards in."""

from __future__ import annotations

import json
import os
import pickle
import selectors
import subprocess
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

from aftertrain.core.errors import RunError
from aftertrain.plugins.verifiers import function_worker
from aftertrain.plugins.verifiers.function_worker import LENGTH

STARTING = 120.0
"""Seconds that loading the function may take."""
CHUNK = 1 << 16


class Lost(Exception):
    """The process is gone; says how."""


class FunctionProcess:
    """One child that has loaded the function.

    Attributes:
        parameters: of the function, each with whether it must be given.
        takes_any: it takes other columns too.

    Args:
        source: a Python file, or the name of a module.
        arguments: of the function that makes the function; None where it is the function itself.

    Raises:
        RunError: the function cannot be loaded.
    """

    def __init__(self, source: str, name: str, arguments: dict[str, Any] | None) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._popen = subprocess.Popen(
            [sys.executable, "-P", str(Path(function_worker.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # The order of a set must not differ from one process to the next.
            env=os.environ | threads | {"PYTHONHASHSEED": "0", "TOKENIZERS_PARALLELISM": "false"},
        )
        weakref.finalize(self, _end, self._popen)
        try:
            answer = self._asked((sys.path, source, name, arguments), STARTING)
        except (Lost, TimeoutError) as error:
            self.kill()
            raise RunError(f"the reward function {source}:{name} cannot be loaded: {error}") from error
        if "failed" in answer:
            self.kill()
            raise RunError(f"the reward function {source}:{name} cannot be loaded: it raised {answer['failed']}")
        self.parameters: dict[str, bool] = answer["parameters"]
        self.takes_any: bool = answer["any"]

    def call(self, columns: dict[str, Any], timeout: float) -> dict[str, Any]:
        """`rewards`, one per completion as `function_worker.number` gives them, or `failed`.

        Raises:
            Lost: the process ended over it. TimeoutError: it took too long. The process is then gone.
        """
        try:
            return self._asked(columns, timeout)
        except (Lost, TimeoutError):
            self.kill()
            raise

    def kill(self) -> None:
        """End it."""
        _end(self._popen)

    def _asked(self, message: Any, timeout: float) -> dict[str, Any]:
        """Send a message and read the answer, both within the time."""
        until = time.monotonic() + timeout
        body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        outgoing, incoming = memoryview(LENGTH.pack(len(body)) + body), bytearray()
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        inbox, outbox = self._popen.stdout.fileno(), self._popen.stdin.fileno()
        os.set_blocking(inbox, False)
        os.set_blocking(outbox, False)
        with selectors.DefaultSelector() as selector:
            selector.register(inbox, selectors.EVENT_READ)
            selector.register(outbox, selectors.EVENT_WRITE)
            while not (len(incoming) >= LENGTH.size and len(incoming) >= LENGTH.size + _length(incoming)):
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"it gave no answer in {timeout:g} s")
                for key, _ in selector.select(left):
                    if key.fd == inbox:
                        incoming += self._read(inbox)
                        continue
                    try:
                        outgoing = outgoing[os.write(outbox, outgoing[:CHUNK]) :]
                    except OSError as error:
                        raise Lost(self._how()) from error
                    if not outgoing:
                        selector.unregister(outbox)
        try:
            answer: dict[str, Any] = json.loads(incoming[LENGTH.size :])
        except ValueError as error:
            raise Lost("its process wrote what is no answer") from error
        return answer

    def _read(self, inbox: int) -> bytes:
        data = os.read(inbox, CHUNK)
        if not data:
            raise Lost(self._how())
        return data

    def _how(self) -> str:
        """How it ended."""
        try:
            status = self._popen.wait(5)
        except subprocess.TimeoutExpired:
            return "its process closed its pipe"
        return f"its process was ended by signal {-status}" if status < 0 else f"its process ended with status {status}"


def _end(popen: subprocess.Popen[bytes]) -> None:
    popen.kill()
    popen.wait()
    for pipe in (popen.stdin, popen.stdout):
        with suppress(OSError):
            pipe.close()  # type: ignore[union-attr]


def _length(received: bytearray) -> int:
    return int(LENGTH.unpack_from(received)[0])
