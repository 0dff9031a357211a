"""What a Ray actor does for a rank: starts its process, keeps it, and answers the launcher's questions about it.

The rank is a process of the actor's and not the actor itself, so that it is started, stopped, told and killed exactly
as without Ray, with its main thread and its signals its own. It dies with its actor, because its line ends.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aftertrain.core.errors import RunError
from aftertrain.core.ground.cores import usable_cores
from aftertrain.core.run.launched import Failure
from aftertrain.launch.process import Process

DRAIN = 2.0
"""Seconds in which an ended rank's last output is read; a process that it left behind may hold the pipe open."""
_POLL = 0.05


@dataclass(frozen=True)
class Place:
    """Where an actor is.

    Attributes:
        node: Ray's id of its machine.
        host: that machine's address.
        cores: that this actor may use.
        gpus: ids of the GPUs that Ray gave it.
    """

    node: str
    host: str
    cores: int
    gpus: tuple[str, ...]


@dataclass(frozen=True)
class News:
    """What happened since the launcher last asked.

    Attributes:
        output: what rank 0 wrote: file descriptor (1 or 2) and bytes, in order.
        status: the process's, once it has ended.
        failure: what became of it, with its status.
    """

    output: tuple[tuple[int, bytes], ...] = ()
    status: int | None = None
    failure: Failure | None = None


class Keeper:
    """Becomes a Ray actor of several threads, of which one waits in `news`."""

    def __init__(self) -> None:
        self._listener: socket.socket | None = None
        self._process: Process | None = None
        self._written: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._readers: list[threading.Thread] = []

    def place(self) -> Place:
        """The node that this actor is on: its id and address, and the cores and GPUs that Ray gave it."""
        ray = importlib.import_module("ray")
        context = ray.get_runtime_context()
        gpus = tuple(str(gpu) for gpu in ray.get_gpu_ids())
        return Place(context.get_node_id(), ray.util.get_node_ip_address(), usable_cores(), gpus)

    def listen(self, host: str, size: int) -> int:
        """Open the port at which rank 0 is to meet the others."""
        self._listener = socket.create_server((host, 0), backlog=2 * size)
        port: int = self._listener.getsockname()[1]
        return port

    def start(
        self, number: int, arguments: Sequence[str], environment: Mapping[str, str], log: str, folder: str
    ) -> str:
        """Start the rank; returns why that is impossible here, or nothing."""
        pipes = [] if number else [os.pipe(), os.pipe()]
        try:
            output = None if number else (pipes[0][1], pipes[1][1])
            self._process = Process(
                number, arguments, environment, Path(log), listener=self._listener, output=output, folder=folder
            )
        except RunError as error:
            return str(error)
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        finally:
            for _, writing in pipes:
                os.close(writing)
            if self._listener is not None:
                self._listener.close()
        for descriptor, (reading, _) in enumerate(pipes, 1):
            reader = threading.Thread(target=self._read, args=(descriptor, reading), daemon=True)
            reader.start()
            self._readers.append(reader)
        return ""

    def news(self, seconds: float) -> News:
        """Wait until there are any, but not longer than that."""
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while not (output := self._output()) and time.monotonic() < deadline:
            status = self._process.poll()
            if status is not None:
                for reader in self._readers:
                    reader.join(DRAIN)
                return News(self._output(), status, self._process.failure())
            time.sleep(_POLL)
        return News(output)

    def request(self, method: Literal["send_signal", "kill", "tell"], *arguments: Any) -> None:
        """Call the rank's method of that name, if there is a rank."""
        if self._process is not None:
            getattr(self._process, method)(*arguments)

    def _output(self) -> tuple[tuple[int, bytes], ...]:
        """What was written and not told yet."""
        parts = []
        with contextlib.suppress(queue.Empty):
            while True:
                parts.append(self._written.get_nowait())
        return tuple(parts)

    def _read(self, descriptor: int, reading: int) -> None:
        with os.fdopen(reading, "rb", buffering=0) as file:
            while data := file.read(1 << 16):
                self._written.put((descriptor, data))
