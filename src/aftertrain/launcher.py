"""`aftertrain run --nproc N`: starts N processes of the same command on this machine and watches them.

Rank 0 has this terminal; the others write to `runs/<name>/ranks/rank-<k>.log`. Ctrl-C is passed on to all of them.
When a rank dies, the others end within seconds and the run's error names it and its last words; when this process
dies, so do they.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import IO

from aftertrain.core.errors import Interrupted, RankLost, RunError
from aftertrain.core.ranks import LISTENER
from aftertrain.core.run.launched import GRACE, PIPE, Failure

INTERRUPTED = Interrupted.exit_code
LAST_WORDS = 80
"""Lines of a dead rank's output that are shown."""
LEAVING = 60.0
"""Seconds that the other ranks have to end after rank 0."""
_POLL = 0.02


def launch(arguments: Sequence[str], size: int, folder: Path) -> int:
    """Run `aftertrain ARGUMENTS` in `size` processes and return the exit status of the run.

    Args:
        folder: the run's.

    Raises:
        RunError: the folder cannot be written, or another launcher works in it.
        RankLost: a rank died and rank 0 could not tell of it.
    """
    with _Crew(arguments, size, folder / "ranks") as crew:
        return crew.watch()


class _Crew:
    """The processes of one run."""

    def __init__(self, arguments: Sequence[str], size: int, logs: Path) -> None:
        self._logs = logs
        self._signals = 0
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            stack.enter_context(_owned(logs))
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2 * size))
            self._starts = [0] * size
            self._pipes: list[IO[str]] = []
            self._ranks: list[subprocess.Popen[bytes]] = []
            stack.callback(self._kill_all)
            for rank in range(size):
                self._start(rank, size, arguments, listener, stack)
            listener.close()
            self._stack = stack.pop_all()

    def __enter__(self) -> _Crew:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._stack.callback(signal.signal, number, signal.signal(number, self._pass_on))
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def watch(self) -> int:
        """Wait for all; after the first failure the others have only a moment."""
        while (failed := self._failed()) is None:
            if self._ranks[0].poll() == 0:
                return self._left()
            time.sleep(_POLL)
        if failed == 0:
            self._kill_all()
        else:
            self._tell(failed)
        try:
            status = self._ranks[0].wait(2 * GRACE)
        except subprocess.TimeoutExpired:
            self._kill(0)
            status = self._ranks[0].wait()
        if status > 0:
            return status
        raise RankLost(str(self._failure(failed)))

    def _left(self) -> int:
        """Rank 0 is done, and so should the others be."""
        deadline = time.monotonic() + LEAVING
        for rank, process in enumerate(self._ranks):
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise RankLost(
                    f"rank {rank} did not end within {LEAVING:g} s of rank 0; the run is done (see {self._log(rank)})"
                ) from None
        return 0

    def _failed(self) -> int | None:
        """A rank that ended and should not have; the lowest if there are several."""
        for rank, process in enumerate(self._ranks):
            status = process.poll()
            if status not in (None, 0) and not (self._signals and status == INTERRUPTED and rank):
                return rank
        return None

    def _tell(self, failed: int) -> None:
        """Rank 0 learns who failed, and ends; the other ranks have nothing left to say."""
        failure = self._failure(failed)
        with contextlib.suppress(BrokenPipeError):
            self._pipes[0].write(json.dumps(asdict(failure)) + "\n")
            self._pipes[0].flush()
        for rank in range(1, len(self._ranks)):
            self._kill(rank)

    def _failure(self, rank: int) -> Failure:
        status = self._ranks[rank].returncode
        how = f"ended with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"
        if rank == 0:
            return Failure(0, how, "", "")
        with self._log(rank).open("rb") as log:
            log.seek(self._starts[rank])
            said = log.read().decode(errors="replace").strip().splitlines()[-LAST_WORDS:]
        return Failure(rank, how, "\n".join(said), str(self._log(rank)))

    def _start(
        self, rank: int, size: int, arguments: Sequence[str], listener: socket.socket, stack: contextlib.ExitStack
    ) -> None:
        reading, writing = os.pipe()
        self._pipes.append(stack.enter_context(os.fdopen(writing, "w", encoding="utf-8")))
        given = [reading, *([listener.fileno()] if rank == 0 else [])]
        output = None
        if rank:
            output = stack.enter_context(self._log(rank).open("ab"))
            output.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} ---\n".encode())
            output.flush()
            self._starts[rank] = output.tell()
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "aftertrain.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=given,
                env=_environment(rank, size, listener.getsockname()[1], listener.fileno(), reading),
                start_new_session=True,  # Ctrl-C comes through this process, once
            )
        finally:
            os.close(reading)
        self._ranks.append(process)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        for process in self._ranks:
            process.send_signal(number)
        if self._signals > 1:
            # Ranks may wait for one another where no signal reaches them.
            signal.signal(signal.SIGALRM, lambda *_: self._kill_all())
            signal.alarm(5)

    def _log(self, rank: int) -> Path:
        return self._logs / f"rank-{rank}.log"

    def _kill(self, rank: int) -> None:
        if self._ranks[rank].poll() is None:
            self._ranks[rank].kill()
            self._ranks[rank].wait()

    def _kill_all(self) -> None:
        for process in self._ranks:
            if process.poll() is None:
                process.kill()
        for process in self._ranks:
            process.wait()


def _environment(rank: int, size: int, port: int, listener: int, pipe: int) -> dict[str, str]:
    """What torchrun would set, one share of the cores a rank, and our own two descriptors."""
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        PIPE: str(pipe),
        LISTENER: str(listener),
    }
    environment.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // size)))
    environment.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    return environment


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """The folder of logs, for one launcher at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w", encoding="utf-8")
    except OSError as error:
        raise RunError(f"{folder}: cannot write: {error.strerror}; choose another place with --out DIR") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                f"{folder.parent} is in use by another 'aftertrain run --nproc'; wait for it, stop it, or choose "
                "another place with --out DIR"
            ) from error
        yield
