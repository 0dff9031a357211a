"""`Sandbox`: runs scripts and tests programs, from any thread, several at once."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import sysconfig
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Self, TypeVar

from aftertrain.core.ground.cores import usable_cores
from aftertrain.core.sandbox import canary, plan
from aftertrain.core.sandbox.booth import Booth, Exam
from aftertrain.core.sandbox.level import Level, bubblewrap, level
from aftertrain.core.sandbox.limits import Limits, Outcome, Result, UnitResult, UnitTests
from aftertrain.core.sandbox.worker import LevelName, Raw, SandboxError, Worker, log

R = TypeVar("R", Raw, Exam)
SHOWN = 500
"""Characters of an error that a result's detail keeps."""
_BROKEN = (SandboxError, SyntaxError, ValueError, KeyError, TypeError, OSError, RecursionError)

_warned = threading.Event()


class Sandbox:
    """Runs programs that nobody has read. Holds up to `workers` processes, started when they are needed.

    Thread-safe; out of pickle, and after a fork, it starts processes of its own. Close it, or use it with `with`.

    Args:
        limits: what each program may use.
        require: `isolated` refuses to work where only `rlimits` can be had.
        use: a level to use in place of the best that works here.
        workers: programs at once; by default one per processor core that may be used.
        packages: whether programs may import the packages that are installed beside aftertrain. Without them what a
            program is worth does not depend on the machine.

    Raises:
        SandboxError: isolation is required and cannot be had; the message says why.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        require: Literal["isolated"] | None = None,
        use: LevelName | None = None,
        workers: int | None = None,
        packages: bool = False,
    ) -> None:
        self.limits, self.require, self.packages = limits or Limits(), require, packages
        self.level = Level(use) if use else level()
        if require and not self.level.isolated:
            raise SandboxError(f"isolation is required and cannot be had here. {self.level.describe()}. {CURE}")
        if not self.level.isolated and not _warned.is_set():
            _warned.set()
            log.warning("programs run WITHOUT isolation. %s. %s", self.level.describe(), CURE)
        self.workers = workers or usable_cores()
        self._fresh()

    def _fresh(self) -> None:
        self._slots = threading.Semaphore(self.workers)
        self._lock = threading.Lock()
        self._idle: list[Booth] = []
        self._process = os.getpid()
        self._closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        copy = partial(Sandbox, require=self.require, use=self.level.name, workers=self.workers, packages=self.packages)
        return copy, (self.limits,)

    def run(self, program: str, stdin: str = "", accept: Callable[[str], bool] | None = None) -> Result:
        """Run a script; never raises on any program.

        Args:
            program: its source.
            stdin: what it reads.
            accept: whether a standard output is the one that is wanted. What is not is believed only when a program
                whose output is known is judged right after it.
        """
        limits = self.limits
        started = time.monotonic()
        source, stdin_bytes = _bytes(program), _bytes(stdin)

        def work(booth: Booth) -> tuple[Raw, bool]:
            raw = booth.run(source, stdin_bytes, limits.output_bytes, limits.seconds)
            well = raw.status == 0 and (accept is None or accept(raw.outputs[0].decode("utf-8", "replace")))
            return raw, well

        try:
            raw = self._vouched(program, work, canary.script_is_judged_right)
        except _BROKEN as error:
            return Result("error", "", "", time.monotonic() - started, f"the sandbox broke: {error}"[:SHOWN])
        stdout, stderr = (part.decode("utf-8", "replace") for part in raw.outputs)
        outcome, detail = _outcome(raw, stderr, limits)
        return Result(outcome, stdout, stderr, raw.seconds, detail)

    def test(
        self, program: str, tests: UnitTests, *, stop_at_failure: bool = True, seconds: float | None = None
    ) -> list[UnitResult]:
        """Test the functions that a program defines; never raises on any program.

        Args:
            program: source of a module.
            tests: what to test; each has `limits.seconds`, and so has loading the program.
            stop_at_failure: end with the first test that does not pass; the result is shorter then.
            seconds: wall time of all together.
        """
        results: list[UnitResult] = []
        deadline = time.monotonic() + (seconds or 1e9)
        while len(results) < len(tests):
            left = deadline - time.monotonic()
            if left <= 0:
                late = 1 if stop_at_failure else len(tests) - len(results)
                return results + [UnitResult("timeout", "no time was left")] * late
            results += self._test_from(program, tests, len(results), stop_at_failure, left)
            if stop_at_failure and results[-1].outcome != "passed":
                break
        return results

    def _test_from(self, program: str, tests: UnitTests, start: int, stop: bool, left: float) -> list[UnitResult]:
        """Results of the tests from number `start` on: at least one, fewer than all where the program ended."""
        rest = len(tests) - start
        seconds = min((rest + 1) * self.limits.seconds + 0.2, left)

        def work(booth: Booth) -> tuple[Exam, bool]:
            exam = booth.examine(source, job, rest, seconds)
            return exam, exam.complete and all(line["passed"] for line in exam.lines)

        try:
            source, job = _bytes(program), plan.job(tests, start, self.limits.seconds, stop=stop)
            exam = self._vouched(program, work, canary.tests_are_judged_right)
        except _BROKEN as error:
            return [UnitResult("error", f"the sandbox broke: {error}"[:SHOWN])] * (1 if stop else rest)
        outcomes = [self._result(line, exam) for line in exam.lines]
        if not exam.complete:
            outcomes.append(_unfinished(exam, self.limits))
        loaded, *results = outcomes
        if loaded.outcome != "passed":
            detail = f"the program does not load: {loaded.detail}" if loaded.outcome == "failed" else loaded.detail
            return [UnitResult(loaded.outcome, detail)] * (1 if stop else rest)
        return results

    def _result(self, line: dict[str, Any], exam: Exam) -> UnitResult:
        if line["passed"]:
            return UnitResult("passed")
        if line["unknown"]:
            return UnitResult("error", line["error"])
        if not line["gone"]:
            return UnitResult("failed", line["error"])
        outcome, how = _outcome(exam.program, "", self.limits)
        return UnitResult(
            "timeout" if outcome == "timeout" else "failed", f"{line['error']}: {how or 'ended with status 0'}"
        )

    def _vouched(self, program: str, work: Callable[[Booth], tuple[R, bool]], sound: Callable[[Booth], bool]) -> R:
        """What comes of `work`, which also says whether it went well.

        What went well shows by itself that the booth's processes are sound. Where it did not, the canary has to be
        judged right before the result is believed; else the processes are replaced and the program is judged again,
        alone between two canaries: then its result is its own, even if it breaks them again.

        Raises:
            SandboxError: nothing is known of the program.
        """

        def judge(booth: Booth) -> R:
            failure = SandboxError("a program whose verdict is known is judged wrongly, in fresh processes, too")
            try:
                result, well = work(booth)
                if result.changed:
                    changed = "while the program %s ran, the process that keeps programs changed: %s. It is replaced"
                    log.warning(changed, _named(program), result.changed)
                if well or sound(booth):
                    return result
            except SandboxError as error:
                failure = error
            booth.close()
            log.warning("after the program %s, a known one is judged wrongly: judging again, alone", _named(program))
            if not sound(booth):
                booth.close()
                raise failure
            result, well = work(booth)
            if not well and not sound(booth):
                booth.close()
                log.warning("the program %s breaks the processes that keep programs, each time", _named(program))
            return result

        return self._in_booth(judge)

    def _in_booth(self, work: Callable[[Booth], R]) -> R:
        if os.getpid() != self._process:
            self._fresh()
        with self._slots:
            if self._closed:
                raise SandboxError("this sandbox is closed")
            with self._lock:
                booth = self._idle.pop() if self._idle else Booth(self._start)
            try:
                return work(booth)
            finally:
                with self._lock:
                    self._idle.append(booth)
                if self._closed:
                    self.close()

    def _start(self, role: str) -> Worker:
        folders = list(dict.fromkeys(sysconfig.get_paths()[key] for key in ("purelib", "platlib")))
        return Worker(self.level.name, self.limits, folders if self.packages else (), bubblewrap() or "", role)

    def close(self) -> None:
        """End all processes; a program that runs is let come to its end."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for booth in idle:
            booth.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


CURE = "Install bubblewrap (apt install bubblewrap), or allow unprivileged user namespaces"


def _named(program: str) -> str:
    """A program, for the log: how it begins, and a digest of it all."""
    return f"{program[:60]!r} (sha256 {hashlib.sha256(_bytes(program)).hexdigest()[:12]})"


def _unfinished(exam: Exam, limits: Limits) -> UnitResult:
    """What ended the examiner in the middle of a test."""
    if exam.examiner is None or exam.examiner == -signal.SIGALRM:
        return UnitResult("timeout", f"more than {limits.seconds:g} s")
    return UnitResult("error", f"the sandbox broke: the tests' process ended with status {exam.examiner}")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _outcome(raw: Raw, stderr: str, limits: Limits) -> tuple[Outcome, str]:
    """What the end of a case means, in words where it is not well."""
    if raw.status == 0:
        return "ok", ""
    last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "")[:SHOWN]
    if raw.status is None:
        words: dict[str, tuple[Outcome, str]] = {
            "timeout": ("timeout", f"more than {limits.seconds:g} s"),
            "memory": ("memory", f"more than {limits.memory_bytes} bytes of memory"),
            "files": ("failed", "more files than the scratch folder may hold"),
            "output": ("output", f"more than {limits.output_bytes} bytes of output"),
        }
        return words.get(raw.why, ("error", f"stopped: {raw.why}"))
    if raw.status < 0:
        if -raw.status in (signal.SIGALRM, signal.SIGXCPU):
            return "timeout", f"more than {limits.seconds:g} s"
        name = signal.Signals(-raw.status).name if -raw.status in set(signal.Signals) else str(-raw.status)
        return "failed", f"ended by {name}"
    if last.startswith("MemoryError") or f"[Errno {errno.ENOMEM}]" in last:
        return "memory", last
    return "failed", last or f"ended with status {raw.status}"
