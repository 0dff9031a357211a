"""Does a program pass its tests (F32)? HumanEval (Chen et al. 2021), MBPP (Austin et al. 2021), APPS (Hendrycks et al.
2021).

Programs run in `aftertrain.core.sandbox`, and tests of functions in another process than the program, so that a pass
cannot be faked. Expected outputs of scripts never enter the sandbox.
"""

from __future__ import annotations

import ast
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, InvalidOperation, Overflow

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.sandbox.limits import MEGA, Limits, Outcome, UnitOutcome, UnitResult
from aftertrain.core.sandbox.sandbox import Sandbox
from aftertrain.core.settings import Builder
from aftertrain.core.text.answer import judged
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.code.fence import program
from aftertrain.plugins.code.settings import CodeSettings
from aftertrain.plugins.code.suite import parsed
from aftertrain.plugins.code.truth import Functions, Streams, read, suite

START = 10.0
"""Seconds beyond `case_timeout` for starting the sandbox, on a busy machine."""
SHOWN = 200
LARGEST = 4 * MEGA
"""Characters of a program; what is longer is not run."""
_UNFINISHED: dict[Outcome, UnitOutcome] = {"timeout": "timeout", "error": "error"}
"""Outcomes of a script that say nothing of its output; all others but `ok` are the program's failures."""
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][-+]?[0-9]{1,3})?")


class Code(Verifier[CodeSettings]):
    """Ground truth: tests of a function or of a script, in one of the forms of `truth.FORMS`."""

    Config = CodeSettings

    def __init__(self, settings: CodeSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._lock = threading.Lock()
        self._sandbox: Sandbox | None = None

    @property
    def timeout(self) -> float:
        """`case_timeout`, and what the sandbox takes to start."""
        return self.settings.case_timeout + START

    def preflight(self) -> None:
        """Find the sandbox's level, and refuse where isolation is required and cannot be had."""
        self._open()

    def close(self) -> None:
        """End the sandbox's processes."""
        with self._lock:
            sandbox, self._sandbox = self._sandbox, None
        if sandbox:
            sandbox.close()

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """Scored by the tests; a timeout where time decided; an error where the ground truth is no tests."""
        if len(cases) < 2:
            return [self._verdict(case) for case in cases]
        with ThreadPoolExecutor(self._open().workers) as pool:
            return list(pool.map(self._verdict, cases))

    def _open(self) -> Sandbox:
        with self._lock:
            if self._sandbox is None:
                chosen = self.settings
                limits = Limits(
                    chosen.timeout,
                    chosen.memory_mib * MEGA,
                    chosen.processes,
                    chosen.scratch_mib * MEGA,
                    chosen.output_kib * 1024,
                )
                require = "isolated" if chosen.sandbox == "required" else None
                self._sandbox = Sandbox(limits, require=require, packages=chosen.packages)  # type: ignore[arg-type]
            return self._sandbox

    def _verdict(self, case: VerificationCase) -> Verdict:
        # A program may hold tags: those of an answer are looked at where no fence marks it.
        return judged(case, self.settings, self._run, block=False)

    def _run(self, case: VerificationCase) -> Verdict:
        try:
            auto = self.settings.tests == "auto"
            truth = read(case.ground_truth) if auto else suite(case.ground_truth, self.settings.module)
        except (ValueError, RecursionError) as error:
            return Verdict.error(str(error)[: 3 * SHOWN])
        source, where = program(case.response, self.settings.extract)
        if not source.strip():
            return Verdict.unparsable(f"no program: the {where} is empty")
        if len(source) > LARGEST:
            return Verdict.scored(0.0, source[:SHOWN], f"{where}, a program of {len(source)} characters is not run")
        if isinstance(truth, Functions):
            full = complete(source, truth)
            stop = self.settings.score == "all_pass"
            limit = self.settings.case_timeout
            results = self._open().test(full, truth.tests, stop_at_failure=stop, seconds=limit)
            return self._scored(source, where, results, len(truth.tests))
        return self._scored(source, where, self._stream(source, truth), len(truth))

    def _stream(self, source: str, truth: Streams) -> list[UnitResult]:
        results: list[UnitResult] = []
        deadline = time.monotonic() + self.settings.case_timeout
        for stdin, wanted in truth:
            if time.monotonic() + self.settings.timeout > deadline and results:
                results.append(UnitResult("timeout", "no time was left"))
            else:
                results.append(self._one_stream(source, stdin, wanted))
            if results[-1].outcome != "passed" and self.settings.score == "all_pass":
                break
        return results

    def _one_stream(self, source: str, stdin: str, wanted: str) -> UnitResult:
        result = self._open().run(source, stdin, lambda output: not difference(output, wanted))
        if result.outcome == "ok":
            wrong = difference(result.stdout, wanted, self.settings.tolerance)
            return UnitResult("failed", wrong) if wrong else UnitResult("passed")
        return UnitResult(_UNFINISHED.get(result.outcome, "failed"), result.detail)

    def _scored(self, source: str, where: str, results: Sequence[UnitResult], total: int) -> Verdict:
        passed = sum(result.outcome == "passed" for result in results)
        extracted = source[:SHOWN]
        if broken := next((result for result in results if result.outcome == "error"), None):
            return Verdict.error(f"{where}, {broken.detail[:SHOWN]}")
        if passed == len(results):
            return Verdict.scored(1.0, extracted, f"{where}, {total} of {total} tests pass")
        number, first = next((n, result) for n, result in enumerate(results, 1) if result.outcome != "passed")
        detail = f"{where}, test {number} of {total}: {first.detail[:SHOWN]}"
        if self.settings.score == "pass_rate" and passed:
            return Verdict.scored(passed / total, extracted, f"{passed} of {total} tests pass; {detail}")
        return Verdict.timeout(detail) if first.outcome == "timeout" else Verdict.scored(0.0, extracted, detail)


def complete(source: str, truth: Functions) -> str:
    """The whole program: the prompt goes before a reply that continues it, and its imports before one that does not."""
    prompt, entry = truth.prompt, truth.tests.entry
    if source.startswith(prompt):
        return source
    if entry and _defines(source, entry):
        # A reply that writes the function anew may rely on what the prompt imports and defines.
        return source if "from __future__" in source else "\n".join([*truth.tests.preamble[:-1], source])
    return prompt + source


def _defines(source: str, name: str) -> bool:
    try:
        tree = parsed(source, "the program")
    except ValueError:
        return re.search(rf"^(?:async )?def {re.escape(name)}\b", source, re.MULTILINE) is not None
    return any(getattr(node, "name", None) == name or _assigns(node, name) for node in tree.body)


def _assigns(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def difference(output: str, wanted: str, tolerance: float = 0.0) -> str:
    """How two outputs differ, or nothing when they are the same: line by line without surrounding space, else word
    by word, where numbers are equal by value (LiveCodeBench's rule), or near where `wanted` has a number with a point
    or an exponent: within tolerance · max(1, |number|).

    >>> difference("1  2\\n", "1 2"), difference("0.50", "0.5"), difference("1", "2")
    ('', '', "line 1 is '1', should be '2'")
    >>> difference("0.3333", "0.33333", 1e-4), difference("2.0001", "2", 1e-3)
    ('', "line 1 is '2.0001', should be '2'")
    """
    ours, theirs = ([line.strip() for line in text.strip().splitlines()] for text in (output, wanted))
    if len(ours) != len(theirs):
        return f"{len(ours)} lines of output, should be {len(theirs)}"
    for number, (line, should) in enumerate(zip(ours, theirs, strict=True), 1):
        if line != should and not _same_words(line.split(), should.split(), tolerance):
            return f"line {number} is {line[:60]!r}, should be {should[:60]!r}"
    return ""


def _same_words(ours: list[str], theirs: list[str], tolerance: float) -> bool:
    same = (a == b or _same_number(a, b, tolerance) for a, b in zip(ours, theirs, strict=False))
    return len(ours) == len(theirs) and all(same)


def _same_number(ours: str, theirs: str, tolerance: float) -> bool:
    if not (_NUMBER.fullmatch(ours) and _NUMBER.fullmatch(theirs)):
        return False
    try:
        number, wanted = Decimal(ours), Decimal(theirs)
        if not tolerance or theirs.lstrip("+-").isdecimal():
            return number == wanted
        return abs(number - wanted) <= Decimal(tolerance) * max(Decimal(1), abs(wanted))
    except (InvalidOperation, Overflow):
        return False
