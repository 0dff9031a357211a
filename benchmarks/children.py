"""Processes that a benchmark compares: each side in one of its own, which answers each line with a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from train_child import MARK

HERE = Path(__file__).parent


class Child:
    """A process that answers each line with a line.

    Args:
        script: beside this file.
        arguments: of its command line.
        threads: that its linear algebra may use.
    """

    def __init__(self, script: str, arguments: Sequence[str], threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )

    def hear(self) -> dict[str, Any]:
        """Its next line.

        Raises:
            RuntimeError: it ended; carries the end of its error output.
        """
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                heard: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return heard
        self._errors.seek(0)
        raise RuntimeError(f"{self._process.args!r} ended:\n{self._errors.read()[-3000:]}")

    def tell(self, **values: Any) -> None:
        """A line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(values) + "\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Stop it."""
        with suppress(BrokenPipeError):
            self.tell(do="stop")
        self._process.kill()
        self._process.wait()
        self._errors.close()
