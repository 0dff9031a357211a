"""BigCodeBench-Hard (Zhuo et al. 2024) as Tülu 3 has it: OLMES `bigcodebench_hard::tulu`, calibrated pass@1.

Calibrated: the question's own code, its function a stub, stands before the reply's program. A program passes when no
test of the question's unittest class fails or raises. Tests patch names of the program, so both share a process, behind
the sandbox's walls; a program that sets out to fake a pass can, as in the benchmark's own harness.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from aftertrain.core.benchmark import Question, Row, Source
from aftertrain.core.benchmark.rows import digest
from aftertrain.core.errors import DataError, Unavailable
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.sandbox.limits import MEGA, Limits
from aftertrain.core.sandbox.sandbox import Sandbox
from aftertrain.plugins.code.program_task import ProgramTask
from aftertrain.plugins.code.solution import solution
from aftertrain.plugins.code.suite import parsed
from aftertrain.plugins.code.task_settings import BigCodeBenchSettings
from aftertrain.plugins.code.unittests import run

ASK = "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
COLUMNS = ("test", "entry_point", "code_prompt", "canonical_solution")
COMPAT_SECONDS = 3.0
LARGEST = 4 * MEGA
"""Characters of a program; what is longer is not run."""
PROBE = """import importlib.util, json, sys
print(json.dumps([name for name in json.loads(sys.stdin.read()) if importlib.util.find_spec(name) is None]))
"""
SHOWN = 5
"""Questions that an error names."""


class BigCodeBenchHard(ProgramTask[BigCodeBenchSettings]):
    """148 tasks over 70 libraries; greedy, one reply."""

    Config = BigCodeBenchSettings
    task = "bigcodebench_hard"
    sources = (Source("bigcode/bigcodebench-hard", "default", "v0.1.2"),)
    prefill = (
        "Below is a Python script with a self-contained function that solves the problem and passes corresponding "
        "tests:\n```python\n"
    )
    stop = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(", "\n```\n")
    ks = (1,)

    def question(self, row: Row, source: Source) -> Question:
        """The instruction; kept are the function's stub, its tests, and the libraries that both import."""
        fields: dict[str, Any] = {column: row.text(column) for column in COLUMNS}
        if "class TestCases" not in fields["test"]:
            raise DataError(f"{row.where}: column 'test' must define the class TestCases, found {fields['test']!r:.80}")
        try:
            sources = [parsed(fields["code_prompt"] + "\n    pass\n", "code_prompt"), parsed(fields["test"], "test")]
        except ValueError as error:
            raise DataError(f"{row.where}: {error}") from None
        fields["libraries"] = sorted({name for tree in sources for name in imported(tree)} | listed(row))
        return Question(row.text("task_id"), f"{ASK}{row.text('instruct_prompt').strip()}\n", self.kept(fields))

    def instances(self) -> Sequence[Instance]:
        """The tasks; which of them cannot be judged here is found first.

        Raises:
            DataError: a row does not fit.
            Unavailable: there are such, and `missing` is `stop`; names tasks and reasons.
        """
        instances = super().instances()
        if self._unfit and self.settings.missing == "stop" and not self.settings.compat:
            named = ", ".join(list(self._unfit)[:SHOWN]) + " …" * (len(self._unfit) > SHOWN)
            reasons = "; ".join(sorted(set(self._unfit.values())))
            raise Unavailable(
                f"task {self.task!r}: {len(self._unfit):,} of {len(instances):,} questions ({named}) cannot be judged "
                f"here: {reasons}. Install what is missing beside aftertrain; missing=keep asks all and counts these "
                "as not judged"
            )
        return instances

    @cached_property
    def _unfit(self) -> dict[str, str]:
        """Why a question cannot be judged in this sandbox, by its id; the others are not in it."""
        instances = super().instances()
        missing = self._missing(sorted({name for i in instances for name in self.tests_of(i)["libraries"]}))
        lacks = {i.id: [name for name in self.tests_of(i)["libraries"] if name in missing] for i in instances}
        unfit = {id_: f"not installed: {', '.join(names)}" for id_, names in lacks.items() if names}
        if self.settings.check == "solutions":
            able = [instance for instance in instances if instance.id not in unfit]
            with ThreadPoolExecutor(self._sandbox.workers) as pool:
                for instance, score in zip(able, pool.map(self._of_the_data, able), strict=True):
                    if not score.metrics["passed"]:
                        unfit[instance.id] = f"the data's own solution of {instance.id} fails here: {score.detail}"
        return unfit

    def _of_the_data(self, instance: Instance) -> InstanceScore:
        fields = self.tests_of(instance)
        return run(self._sandbox, f"{fields['code_prompt']}\n{fields['canonical_solution']}", fields["test"])

    def _missing(self, names: Sequence[str]) -> frozenset[str]:
        """Which libraries cannot be imported in the sandbox."""
        result = self._sandbox.run(PROBE, json.dumps(names))
        if result.outcome != "ok":
            raise Unavailable(f"task {self.task!r}: the sandbox cannot say what it can import: {result.detail}")
        return frozenset(json.loads(result.stdout))

    @cached_property
    def _sandbox(self) -> Sandbox:
        chosen = self.settings
        limits = Limits(self._seconds, chosen.memory_mib * MEGA, processes=64, file_bytes=256 * MEGA)
        require = "isolated" if chosen.sandbox == "required" else None
        return Sandbox(limits, require=require, packages=True)  # type: ignore[arg-type]

    @property
    def _seconds(self) -> float:
        return COMPAT_SECONDS if self.settings.compat else self.settings.timeout

    def judge_all(self, cases: Sequence[tuple[Instance, str]]) -> list[InstanceScore]:
        """Run each program, several at a time."""
        with ThreadPoolExecutor(self._sandbox.workers) as pool:
            return list(pool.map(lambda case: self._judged(*case), cases))

    def _judged(self, instance: Instance, text: str) -> InstanceScore:
        if (why := self._unfit.get(instance.id)) and not self.settings.compat:
            return InstanceScore({"passed": 0.0}, outcome="error", detail=why)
        fields = self.tests_of(instance)
        program = solution(self.cut(text), fields["entry_point"])
        if len(program) > LARGEST:
            return InstanceScore({"passed": 0.0}, detail=f"a program of {len(program)} characters is not run")
        return run(self._sandbox, f"{fields['code_prompt']}\n    pass\n{program}", fields["test"])

    def fingerprint(self) -> str:
        """Questions, tests, and limits that decide."""
        return digest([super().fingerprint(), self._seconds, self.settings.memory_mib, self.settings.compat, self.stop])


def imported(tree: ast.Module) -> set[str]:
    """Packages that a module imports, at any depth."""
    names = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    names += [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module and not n.level]
    return {name.partition(".")[0] for name in names}


def listed(row: Row) -> set[str]:
    """Packages in the column `libs`, a list written as text.

    Raises:
        DataError: it is none.
    """
    try:
        names = ast.literal_eval(row.text("libs"))
        return {str(name).partition(".")[0] for name in names}
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise DataError(f"{row.where}: column 'libs' must be a list in text, found {row.text('libs')!r:.80}") from None
