"""BigCodeBench-Hard (Zhuo et al. 2024) as Tülu 3 has it: OLMES `bigcodebench_hard::tulu`, calibrated pass@1.

Calibrated: the question's own code, its function a stub, stands before the reply's program. A program passes when no
test of the question's unittest class fails or raises. Tests patch names of the program, so both share a process, behind
the sandbox's walls; a program that sets out to fake a pass can, as in the benchmark's own harness.
"""

from __future__ import annotations

import ast
import json
import secrets
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from aftertrain.core.benchmark import Question, Row, Source
from aftertrain.core.benchmark.rows import digest
from aftertrain.core.errors import DataError, Unavailable
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.sandbox.limits import MEGA, Limits, Result
from aftertrain.core.sandbox.sandbox import Sandbox
from aftertrain.plugins.code.program_task import ProgramTask
from aftertrain.plugins.code.solution import solution
from aftertrain.plugins.code.suite import parsed
from aftertrain.plugins.code.task_settings import BigCodeBenchSettings

ASK = "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
COLUMNS = ("test", "entry_point", "code_prompt")
COMPAT_SECONDS = 3.0
LARGEST = 4 * MEGA
"""Characters of a program; what is longer is not run."""
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PROBE = """import importlib.util, json, sys
print(json.dumps([name for name in json.loads(sys.stdin.read()) if importlib.util.find_spec(name) is None]))
"""
SHOWN = 5
RELIES_ON = ("aftertrain.plugins.code.harness",)


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
        """The tasks; which libraries the sandbox lacks is found first.

        Raises:
            DataError: a row does not fit.
            Unavailable: there are such, and `missing` is `stop`; names libraries and tasks.
        """
        instances = super().instances()
        lacking = [instance.id for instance in instances if self._lacks(instance)]
        if lacking and self.settings.missing == "stop" and not self.settings.compat:
            named = ", ".join(lacking[:SHOWN]) + " …" * (len(lacking) > SHOWN)
            raise Unavailable(
                f"task {self.task!r}: {len(lacking):,} of {len(instances):,} questions ({named}) need libraries that "
                f"programs cannot import here: {', '.join(sorted(self._missing))}; install them beside aftertrain. "
                "missing=keep asks all and counts these as not judged"
            )
        return instances

    def _lacks(self, instance: Instance) -> list[str]:
        return [name for name in self.tests_of(instance)["libraries"] if name in self._missing]

    @cached_property
    def _missing(self) -> frozenset[str]:
        """Libraries of any task that cannot be imported in the sandbox."""
        names = sorted({name for instance in super().instances() for name in self.tests_of(instance)["libraries"]})
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
        if (lacks := self._lacks(instance)) and not self.settings.compat:
            return InstanceScore({"passed": 0.0}, outcome="error", detail=f"not installed: {', '.join(lacks)}")
        fields = self.tests_of(instance)
        with _PARSING:
            program = solution(self.cut(text), fields["entry_point"])
        if len(program) > LARGEST:
            return InstanceScore({"passed": 0.0}, detail=f"a program of {len(program)} characters is not run")
        token = secrets.token_hex(16)
        script = script_of(f"{fields['code_prompt']}\n    pass\n{program}", fields["test"])
        result = self._sandbox.run(script, token + "\n", lambda output: _report(output, token).get("failed") == {})
        return _score(result, _report(result.stdout, token))

    def fingerprint(self) -> str:
        """Questions, tests, and limits that decide."""
        return digest([super().fingerprint(), self._seconds, self.settings.memory_mib, self.settings.compat, self.stop])


_PARSING = threading.Lock()
"""Programs are looked for by one thread at a time: their syntax trees are large."""


def script_of(code: str, tests: str) -> str:
    """The harness with one program and its tests, as a script; libraries use one thread."""
    source = Path(__file__).with_name("harness.py").read_text(encoding="utf-8")
    threads = "".join(f"os.environ[{name!r}] = '1'\n" for name in ONE_THREAD)
    return f"{source}\n{threads}main({code!r}, {tests!r})\n"


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


def _report(output: str, token: str) -> dict[str, Any]:
    """The harness's line, or nothing."""
    try:
        found = json.loads(output)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("token") == token else {}


def _score(result: Result, report: dict[str, Any]) -> InstanceScore:
    """Passed, failed (out of time and memory, too), or not judged where the sandbox itself broke."""
    if result.outcome == "error":
        return InstanceScore({"passed": 0.0}, outcome="error", detail=result.detail)
    if not report:
        return InstanceScore({"passed": 0.0}, detail=result.detail or "the program ended before its tests did")
    failed = report["failed"]
    if not failed and report["ran"]:
        return InstanceScore({"passed": 1.0}, detail=f"{report['ran']} tests pass")
    name, why = next(iter(failed.items()), ("all", "no test ran"))
    return InstanceScore({"passed": 0.0}, detail=f"{len(failed)} of {report['ran']} tests fail; {name}: {why}")
