"""Test modules written for pytest: what is a test, what they may name, and that a pass is as hard as elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.plugins.code.code import Code
from aftertrain.plugins.code.settings import CodeSettings
from aftertrain.plugins.code.suite import read

MODULE = """
import pytest
from solution import square, half as halved


@pytest.fixture
def three():
    yield 3


@pytest.fixture(scope="module")
def nine(three):
    return three * 3


def test_plain():
    assert square(3) == 9


@pytest.mark.parametrize("x, y", [(1, 1), pytest.param(-2, 4, id="negative")])
@pytest.mark.parametrize("times", [1, 2])
def test_many(x, y, times):
    assert square(x) * times == y * times


def test_fixtures(three, nine):
    assert square(three) == nine


class TestHalves:
    @pytest.mark.slow
    def test_near(self):
        assert halved(0.2) == pytest.approx(0.1)
        assert [halved(1), halved(3)] == pytest.approx([0.5, 1.5])

    def test_zero_raises(self):
        with pytest.raises(ValueError, match="odd text") as caught:
            halved("x")
        assert "odd" in str(caught.value)


@pytest.mark.skip(reason="later")
def test_never():
    assert False


if __name__ == "__main__":
    pytest.main()
"""
GOOD = """
def square(x):
    return x * x

def half(x):
    if isinstance(x, str):
        raise ValueError("an odd text")
    return x / 2
"""


@pytest.fixture(scope="module")
def verifier() -> Iterator[Code]:
    code = Code(CodeSettings(timeout=10, tests="pytest", score="pass_rate"), cast(Any, None))
    yield code
    code.close()


def _judge(verifier: Code, response: str, truth: Any) -> Verdict:
    (found,) = verifier.verify([VerificationCase("x", "", response, truth)])
    return found


@pytest.mark.parametrize("truth", [MODULE, {"test": MODULE}, json.dumps({"test": MODULE})], ids=["text", "map", "json"])
def test_every_form_passes(verifier: Code, truth: Any) -> None:
    found = _judge(verifier, f"```python\n{GOOD}```", truth)
    assert (found.value, found.detail) == (1.0, "last python block, 5 of 5 tests pass"), found


@pytest.mark.parametrize(
    ("old", "new", "passed"),
    [
        ("x * x", "x + x if x == -2 else x * x", 4),
        ("x * x", "9", 4),
        ("x / 2", "x / 2 + 0.01", 4),
        ("x / 2", "x / 2 + 1e-9", 5),
        ('"an odd text"', '"even"', 4),
        ("ValueError", "KeyError", 4),
        ("def half", "def halve", 0),
        ("x * x", "__import__('os')._exit(0)", 2),
    ],
)
def test_what_is_wrong_fails(verifier: Code, old: str, new: str, passed: int) -> None:
    """Of five tests; the program may be wrong in a value, an exception, its text, or leave (which costs the three tests
    that call it); a name that cannot be imported costs all, as where pytest collects."""
    found = _judge(verifier, GOOD.replace(old, new, 1), MODULE)
    assert (found.value or 0.0) == passed / 5, found


@pytest.mark.parametrize(
    ("test", "source", "value"),
    [
        ("import solution as s\ndef test_a():\n    assert s.run(2) == 3", "def run(x): return x + 1", 1.0),
        ("from solution import sum\ndef test_a():\n    assert sum([1]) == 7", "def sum(x): return 7", 1.0),
        ("from solution import *\ndef test_a():\n    assert f() == 1", "def f(): return 1", 1.0),
        ("from pytest import raises as r\ndef test_a():\n    r(KeyError, lambda: f({}))", "def f(d): return d[1]", 1.0),
        (
            "import pytest, solution\n@pytest.mark.asyncio\nasync def test_a():\n    assert await solution.f() == 1",
            "async def f(): return 1",
            1.0,
        ),
        ("import pytest\ndef test_a():\n    with pytest.raises(E):\n        pass", "class E(Exception): pass", None),
        (
            "import pytest\nfrom solution import f\ndef test_a():\n    assert f() == pytest.approx(1)",
            "def f(): return 1.1",
            0.0,
        ),
        (
            "import pytest\nfrom solution import f\ndef test_a():\n    with pytest.raises(ValueError): f()",
            "def f(): pass",
            0.0,
        ),
    ],
)
def test_ways_to_name_things(verifier: Code, test: str, source: str, value: float | None) -> None:
    found = _judge(verifier, source, test)
    assert (found.value, found.outcome) == (value, "error" if value is None else "scored"), found


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("def check(): pass", "holds no function or method whose name begins with test"),
        ("def test_a(: pass", "is no Python"),
        ("from answer import f\ndef test_a(): f()", "imports answer, which is neither Python's own nor the program"),
        ("import numpy\ndef test_a(): pass", "imports numpy"),
        ("def test_a(tmp_path): pass", "wants 'tmp_path', a fixture that is not in the module"),
        ("import pytest\n@pytest.mark.xfail\ndef test_a(): pass", "pytest.mark.xfail"),
        ("import pytest\ndef test_a(): pytest.importorskip('x')", "pytest.importorskip"),
        ("import pytest\n@pytest.fixture(autouse=True)\ndef f(): pass\ndef test_a(): pass", "the option 'autouse'"),
        (
            "import unittest\nclass TestA(unittest.TestCase):\n    def test_a(self): pass",
            "TestA of the test module inherits",
        ),
        ("def setup_module(): pass\ndef test_a(): pass", "has setup_module"),
        ("class TestA:\n    def setup_method(self): pass\n    def test_a(self): pass", "has setup_method"),
    ],
)
def test_a_module_that_needs_more_is_refused(module: str, told: str) -> None:
    with pytest.raises(ValueError) as refused:
        read(module, "solution")
    assert told in str(refused.value)


@pytest.mark.parametrize("truth", [None, 7, ["assert True"], {"tests": ""}, "{", {"test": 1}])
def test_a_ground_truth_of_another_kind_is_an_error(verifier: Code, truth: Any) -> None:
    assert _judge(verifier, "x = 1", truth).outcome == "error"


def test_the_programs_name_is_a_setting() -> None:
    assert read("from answer import f\ndef test_a(): f()", "answer").statements == ("__run__(test_a, {})",)
