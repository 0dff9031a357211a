"""A rank as a process of this machine: its environment, its end of the launcher's line, its log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

from aftertrain.core.errors import RunError
from aftertrain.core.ground.cores import usable_cores
from aftertrain.core.learning.meeting import LISTENER
from aftertrain.core.run.launched import PIPE, Failure
from aftertrain.launch.rank import Rank

LOOPBACK = "127.0.0.1"
LAST_WORDS = 80
"""Lines of a dead rank's output that are shown."""


class Process(Rank):
    """One rank.

    Args:
        environment: what torchrun would set, on top of this process's.
        listener: where rank 0 is to listen for the others, opened already so that no port is lost.
        output: rank 0's standard output and error; None is this process's. The others write to their log.
        folder: where it works; None is where this process does.
    """

    def __init__(
        self,
        number: int,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        listener: socket.socket | None = None,
        output: tuple[int, int] | None = None,
        folder: str | None = None,
    ) -> None:
        self.number, self.log = number, log
        with contextlib.ExitStack() as stack:
            reading, writing = os.pipe()
            stack.callback(os.close, reading)
            self._line: IO[str] = os.fdopen(writing, "w", encoding="utf-8")
            own = {PIPE: str(reading)} | ({} if listener is None else {LISTENER: str(listener.fileno())})
            out, err = output if output is not None else (None, None)
            self._start = 0
            if number:
                file = stack.enter_context(_opened(log))
                self._start = file.tell()
                out = err = file.fileno()
            # What starts us may hold signals back (Ray does), and a child inherits that.
            held = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
            stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, held)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "aftertrain.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=[reading] if listener is None else [reading, listener.fileno()],
                env={**os.environ, **environment, **own},
                cwd=folder,
                start_new_session=True,  # Ctrl-C comes through the launcher, once
            )

    def poll(self) -> int | None:
        return self._process.poll()

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()

    def tell(self, failure: Failure) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._line.write(json.dumps(asdict(failure)) + "\n")
            self._line.flush()

    def failure(self) -> Failure:
        status = self._process.returncode
        how = f"ended with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"
        if self.number == 0:
            return Failure(0, how, "", "")
        try:
            with self.log.open("rb") as log:
                log.seek(self._start)
                lines = log.read().decode(errors="replace").strip().splitlines()[-LAST_WORDS:]
        except OSError as error:
            lines = [f"({self.log}: cannot be read: {error.strerror})"]
        return Failure(self.number, how, "\n".join(lines), str(self.log))

    def close(self) -> None:
        """Kill it if it still runs, and wait for its end."""
        self.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._line.close()


def _opened(log: Path) -> IO[bytes]:
    """A rank's log, after a line that says when.

    Raises:
        RunError: it cannot be written: the disk is full or closed to us.
    """
    try:
        file = log.open("ab", buffering=0)
    except OSError as error:
        raise RunError(f"{log}: cannot write: {error.strerror}; choose another place with --out DIR") from error
    try:
        file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} ---\n".encode())
    except OSError as error:
        file.close()
        raise RunError(
            f"{log}: cannot write: {error.strerror}; make room there, or choose another place with --out DIR"
        ) from error
    return file


@contextlib.contextmanager
def processes(arguments: Sequence[str], size: int, logs: Path) -> Iterator[list[Process]]:
    """All ranks on this machine; they are gone when the context is left."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=2 * size))
        port = listener.getsockname()[1]
        ranks: list[Process] = []
        for number in range(size):
            environment = rank_environment(number, size, (LOOPBACK, port), number, size, usable_cores())
            log = logs / f"rank-{number}.log"
            ranks.append(Process(number, arguments, environment, log, listener=None if number else listener))
            stack.callback(ranks[-1].close)
        listener.close()
        yield ranks


def rank_environment(  # noqa: PLR0917
    rank: int, size: int, meeting: tuple[str, int], local: int, local_size: int, n_cores: int
) -> dict[str, str]:
    """What torchrun would set, and a share of a machine's cores.

    Args:
        meeting: host and port where rank 0 listens; the loopback where all ranks are on one machine.
        local: number among the `local_size` ranks of its machine, which has `n_cores`.
    """
    host, port = meeting
    environment = {
        "RANK": str(rank),
        "LOCAL_RANK": str(local),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(local_size),
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, n_cores // local_size))),
    }
    if host == LOOPBACK and "GLOO_SOCKET_IFNAME" not in os.environ:
        environment["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    return environment
