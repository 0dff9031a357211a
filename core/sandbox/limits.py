"""What a program may use, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MEGA = 2**20
LOOK = 0.05
"""Seconds between two looks at the memory of all processes of a program."""


def environment(folder: str) -> dict[str, str]:
    """All environment variables that a program has, beside a scratch folder: none of them is its owner's."""
    return {"HOME": folder, "TMPDIR": folder, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    Attributes:
        seconds: wall time; of each test, where a program is tested.
        memory_bytes: address space of each process, and resident memory of all together.
        processes: processes and threads at a time, the program's first one included.
        file_bytes: size of the scratch folder, and of each file.
        output_bytes: standard output and standard error, each.
    """

    seconds: float = 3.0
    memory_bytes: int = 1024 * MEGA
    processes: int = 16
    file_bytes: int = 64 * MEGA
    output_bytes: int = 4 * MEGA

    def __post_init__(self) -> None:
        if not 0 < self.seconds < 1e6:
            raise ValueError(f"seconds must be above 0, not {self.seconds}")
        if self.memory_bytes < 64 * MEGA:
            raise ValueError(f"memory_bytes must be at least {64 * MEGA} (Python itself), not {self.memory_bytes}")
        if min(self.processes, self.file_bytes, self.output_bytes) < 1:
            raise ValueError("processes, file_bytes and output_bytes must be at least 1")


Outcome = Literal["ok", "failed", "timeout", "memory", "output", "error"]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a script.

    Attributes:
        outcome: `ok` (it ended with status 0), `failed` (another status, or a signal), `timeout`, `memory`, `output`
            (it wrote more than it may), `error` (the sandbox itself broke; nothing is known about the program).
        stdout: what it wrote; bytes that are no UTF-8 are replaced.
        stderr: the same of standard error.
        seconds: wall time.
        detail: why the outcome is not `ok`, in words.
    """

    outcome: Outcome
    stdout: str
    stderr: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class UnitTests:
    """Tests of the functions that a program defines. They come from a data set, never from the model.

    Attributes:
        statements: Python source, one test each: it passes when it runs to its end.
        preamble: sources that run before the tests, in the tests' process: imports, helpers, a `check` function.
        entry: name of the function under test, where it is known.
        calls: for tests without source: (arguments, expected result, other accepted results…) of the function `entry`,
            or of the method of that name of a class `Solution`.
    """

    statements: tuple[str, ...] = ()
    preamble: tuple[str, ...] = ()
    entry: str | None = None
    calls: tuple[tuple[object, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.statements) + len(self.calls)


UnitOutcome = Literal["passed", "failed", "timeout", "error"]


@dataclass(frozen=True, slots=True)
class UnitResult:
    """What came of one test; `error` means that the sandbox itself broke."""

    outcome: UnitOutcome
    detail: str = ""
