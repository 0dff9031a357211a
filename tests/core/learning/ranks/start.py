"""Starting a few ranks of a script, without the launcher."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PATIENCE = 240
"""Seconds for all of it."""


def run_ranks(script: Path, arguments: Sequence[str], size: int, python: str = sys.executable, **more: str) -> None:
    """Run `script` in `size` processes to their end.

    Raises:
        AssertionError: one failed; with all output.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    processes: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(size)]
        for rank, log in enumerate(logs):
            environment = os.environ | {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
                **more,
            }
            command = [python, str(script), *arguments]
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
        deadline = time.monotonic() + PATIENCE
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            if any(process.poll() for process in processes):
                time.sleep(1)  # the others may be about to say why
                break
            time.sleep(0.05)
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        said = []
        for log in logs:
            log.seek(0)
            said.append(log.read().decode(errors="replace"))
    assert [process.returncode for process in processes] == [0] * size, "\n\n".join(said)
