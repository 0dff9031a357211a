"""Where one program at a time is run or tested: a worker for programs, one for tests, and a line between them."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from aftertrain.core.sandbox.worker import GRACE, Raw, SandboxError, Worker, drain, sealed

Role = Literal["programs", "tests"]
PARTING = 0.3
"""Seconds that a program's process may take from closing its line to its end."""
START_OVER = 5.0
"""Seconds that a worker may take to end a program, generous for a busy machine."""
_REPORT_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Exam:
    """What came of tests.

    Attributes:
        lines: the examiner's report, the first line on loading the program, then one for each test.
        complete: whether the examiner came to an end by itself.
        examiner: how it ended otherwise: its status, None where it was ended for lack of time.
        program: how the program's process ended.
    """

    lines: tuple[dict[str, Any], ...]
    complete: bool
    examiner: int | None
    program: Raw

    @property
    def changed(self) -> str:
        """As `Raw.changed`."""
        return self.program.changed


class Booth:
    """Starts its workers when they are needed. For one thread at a time."""

    def __init__(self, start: Callable[[Role], Worker]) -> None:
        self._start = start
        self._workers: dict[Role, Worker] = {}

    def worker(self, role: Role) -> Worker:
        """The worker of that role.

        Raises:
            SandboxError: it cannot be started.
        """
        if role not in self._workers:
            self._workers[role] = self._start(role)
        return self._workers[role]

    def close(self) -> None:
        """End the workers."""
        for role in list(self._workers):
            self._drop(role)

    def run(self, program: bytes, stdin: bytes, most: int, timeout: float) -> Raw:
        """Run a script.

        Raises:
            SandboxError: its worker broke; the next program gets another.
        """
        try:
            raw = self.worker("programs").run(program, stdin, most, timeout)
        except BaseException:
            self._drop("programs")
            raise
        if raw.changed:
            self._drop("programs")
        return raw

    def examine(self, program: bytes, tests: bytes, count: int, timeout: float) -> Exam:
        """Run `count` tests of a program.

        Raises:
            SandboxError: a worker broke; the next program gets others.
        """
        try:
            return self._examine(program, tests, count, timeout)
        except BaseException:
            self.close()
            raise

    def _examine(self, program: bytes, tests: bytes, count: int, timeout: float) -> Exam:
        programs, examiner = self.worker("programs"), self.worker("tests")
        started = time.monotonic()
        # A socket, unlike a pipe, cannot be opened again through /proc. The secret marks the examiner's own lines.
        report, writer = socket.socketpair()
        secret = secrets.token_hex(16)
        with report, contextlib.ExitStack() as handed:
            handed.enter_context(writer)
            files = [handed.enter_context(sealed(content)) for content in (program, tests)]
            if programs.line is None:
                raise SandboxError("the sandbox's process did not send a line to its next program")
            programs.order("module", [files[0].fileno()], timeout + 2 * GRACE)
            line = programs.line.fileno()
            examiner.order("tests", [files[1].fileno(), line, writer.fileno()], timeout, secret=secret)
            programs.line.close()
            programs.line = None
            handed.close()
            (data,), _ = drain([report], _REPORT_BYTES + 4096 * count, started + timeout)
        lines = [_own_line(line, secret) for line in data.splitlines()]
        late = time.monotonic() >= started + timeout
        complete = bool(lines) and "end" in lines[-1]
        lines = [line for line in lines if "passed" in line]
        status = None
        if not complete:
            died = examiner.answer(GRACE)
            # Out of time, it may also end because nobody takes its report any more.
            status = died["died"] if died and not late else None
            if died is None:
                self._drop("tests")
        gone = any(line["gone"] for line in lines)
        return Exam(tuple(lines), complete, status, self._part(programs, gone, started))

    def _part(self, programs: Worker, gone: bool, started: float) -> Raw:
        """Have the program end, or wait for it where it is about to."""
        answer = programs.answer(PARTING) if gone else None
        if answer is None:
            programs.stop()
            answer = programs.answer(START_OVER)
        if answer is None:
            raise SandboxError("the sandbox's process ended or does not answer")
        if changed := answer.get("changed", ""):
            self._drop("programs")
        return Raw(answer["status"], answer.get("why", ""), (), time.monotonic() - started, changed)

    def _drop(self, role: Role) -> None:
        if worker := self._workers.pop(role, None):
            worker.close()


def _own_line(line: bytes, secret: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(line)
    if fields.pop("secret", None) != secret:
        raise SandboxError("the report on the tests holds a line that is not the examiner's")
    return fields
