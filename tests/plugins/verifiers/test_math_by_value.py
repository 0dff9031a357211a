r"""The math verifier (F32) by value: Math-Verify's verdicts without signals, `either`'s guards, hostile text, threads.

Each case of `either` is worked by hand; `library` is what the package math-verify says of the same pair.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import importlib.util
import json
import logging
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.core.errors import AftertrainError, MissingExtra
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.plugins.verifiers import expression, symbolic
from aftertrain.plugins.verifiers.math import Math
from aftertrain.plugins.verifiers.settings import MathSettings


def _verifier(**chosen: Any) -> Math:
    return Math(MathSettings.model_validate(chosen), builder=None)  # type: ignore[arg-type]


def _judge(response: str, truth: Any, **chosen: Any) -> Verdict:
    (verdict,) = _verifier(**chosen).verify([VerificationCase("x", "", response, truth)])
    return verdict


def _library(truth: str, response: str, **chosen: Any) -> bool:
    from math_verify import parse, verify

    logging.disable(logging.WARNING)  # it warns once that no time limit is set
    try:
        gold, found = (parse(text, parsing_timeout=None) for text in (f"\\boxed{{{truth}}}", response))
        return bool(verify(gold, found, timeout_seconds=None, **chosen))
    finally:
        logging.disable(logging.NOTSET)


SAME = [
    ("2x + 2", "2(x+1)"),
    ("\\frac{1}{2}", "0.5"),
    ("\\sqrt{12}", "2\\sqrt{3}"),
    ("3\\frac{1}{2}", "\\frac{7}{2}"),
    ("-3\\frac12", "-3.5"),
    ("\\{1, 2\\}", "\\{2,1\\}"),
    ("(-\\infty, 3)", "\\left(-\\infty,3\\right)"),
    ("x \\ge 5", "5 \\le x"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix} 1 \\\\ 2 \\end{bmatrix}"),
    ("1 \\pm \\sqrt{2}", "1+\\sqrt2, 1-\\sqrt2"),
    ("25\\%", "0.25"),
    ("25\\%", "25"),
    ("\\tan^2 y + 1", "\\sec^2 y"),
    ("4{,}320", "4320.0"),
    ("x = 5", "5"),
    ("7", "x + y = 7"),
]
DIFFERENT = [
    ("5", "-5"),
    ("\\frac{1}{2}", "-\\frac{1}{2}"),
    ("1.2", "1,2"),
    ("(1,2)", "(2,1)"),
    ("[0,9)", "[0,1)"),
    ("[1,2]", "(1,2)"),
    ("2", "\\pm 2"),
    ("x + 1", "x + 2"),
    ("\\sqrt{3}", "1.73"),
    ("1234", "1, 234"),
    ("x \\ge 5", "x \\le 5"),
    ("x = 5", "y = 5"),
    ("\\text{red}", "\\text{blue}"),
]


@pytest.mark.parametrize("extract", ["boxed", "math_verify"])
@pytest.mark.parametrize("equality", ["math_verify", "either"])
@pytest.mark.parametrize(
    ("truth", "answer", "value"), [(*pair, 1.0) for pair in SAME] + [(*pair, 0.0) for pair in DIFFERENT]
)
def test_values_decide(truth: str, answer: str, value: float, equality: str, extract: str) -> None:
    assert _judge(f"so $\\boxed{{{answer}}}$.", truth, extract=extract, equality=equality).value == value
    assert _library(truth, f"so $\\boxed{{{answer}}}$.") == bool(value)


@pytest.mark.parametrize(
    ("truth", "response", "value", "detail", "library"),
    [
        ("50^\\circ", "\\boxed{50\\text{ cm}}", 0.0, "another unit: centimetres for degrees", True),
        ("\\$7", "\\boxed{7\\%}", 0.0, "another unit: percent for dollars", True),
        ("4\\text{ a.m.}", "\\boxed{4\\text{ p.m.}}", 0.0, "another unit: p.m. for a.m.", True),
        ("5\\text{ thousand}", "\\boxed{5\\text{ million}}", 0.0, "another multiple: million for thousand", True),
        ("12_5", "\\boxed{12_{\\text{eight}}}", 0.0, "another base: 8 for 5", False),
        ("12_5", "so $12_{\\text{eight}}$", 0.0, "another base: 8 for 5", True),
        ("x + y = 0", "\\boxed{0}", 0.0, "a value for an equation", True),
        ("x = 4", "so $-(x = 4)$", 0.0, "only a part could be read", True),
        ("2", "\\boxed{3 1/2}", 0.0, "not equal", True),
        ("3.5", "\\boxed{3 1/2}", 1.0, "math-verify", False),
        ("6-5i", "\\boxed{6-5\\cdot i}", 1.0, "math-verify, complex", False),
        ("0.333", "\\boxed{0.333\\ldots}", 0.0, "digits that go on, and digits that end", True),
        ("5", "The answer is - 5", 0.0, "a minus sign before the number", True),
        ("5", "x = - 5", 0.0, "a minus sign before the number", True),
        ("40\\%", "The answer is 40 degrees.", 0.0, "another unit: degrees for percent", True),
        ("32{,}000", "\\boxed{32 000}", 1.0, "minerva", False),
        ("\\text{A, C}", "\\boxed{A,C}", 1.0, "minerva", False),
        ("-3", "\\boxed{-3\\%}", 1.0, "hendrycks", False),
    ],
)
def test_either_differs_from_the_library(truth: str, response: str, value: float, detail: str, library: bool) -> None:
    """Where the two differ, and that they do: docs/verifiers/math.md says why."""
    verdict = _judge(response, truth, extract="math_verify")
    assert (verdict.value, verdict.detail) == (value, f"math_verify, {detail}")
    assert _library(truth, response) == library
    literal = _judge(response, truth, extract="math_verify", equality="math_verify")
    assert literal.value == float(library)


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        ("5", "5\\text{ or }6"),
        ("5\\text{ or }6", "5"),
        ("4x - 5y = 7", "4t - 5y = 7"),
        ("4x - 5y = 7", "7"),
        ("x = 5", "y = 5"),
        ("5", "x <= 5"),
        ("0.3", "0.\\overline{3}"),
        ("2 + b", "2a + b"),
        ("12", "1 2"),
        ("3 1/2", "31/2"),
        ("1234", "1, 234"),
        ("3", "between $3$ and $4$"),
        ("50\\text{ cm}", "50\\text{ inches}"),
    ],
)
def test_a_string_rule_that_drops_what_matters_does_not_decide(truth: str, answer: str) -> None:
    """Hendrycks' or Minerva's rule calls each pair equal; none is."""
    response = f"Final Answer: The final answer is {answer}. I hope it is correct."
    assert _judge(response, truth, equality="string").value == 1.0
    assert _judge(response, truth).value == 0.0


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        ("10\\text{ miles per hour}", "10\\text{ mph}"),
        ("60\\text{ mph}", "60\\text{ miles/hour}"),
        ("40\\text{ km/hr}", "40\\text{ kmph}"),
        ("40\\text{ kmh}", "40\\text{ km per hour}"),
        ("40\\text{ km/h}", "40\\text{ kph}"),
        ("6\\text{ dozen}", "6"),
        ("6", "6\\text{ dozen}"),
        ("5", "5\\text{ million}"),
        ("8\\text{ pounds}", "\\pounds 8"),
        ("25\\%", "25"),
        ("25", "25\\%"),
        ("25\\%", "0.25"),
        ("0.25", "25\\%"),
    ],
)
@pytest.mark.parametrize("extract", ["flexible", "math_verify"])
def test_either_accepts_what_the_library_accepts(truth: str, answer: str, extract: str) -> None:
    """Another name of one unit, a unit or multiple that is missing: equal to math-verify and to a person."""
    response = f"so $\\boxed{{{answer}}}$."
    assert _library(truth, response)
    assert _judge(response, truth, extract=extract).value == 1.0


@pytest.mark.parametrize(
    ("truth", "answer"), [("0.25", "0.25\\%"), ("0.25\\%", "0.25"), ("361", "3\\%61"), ("1.5", "1.5\\%")]
)
@pytest.mark.parametrize("extract", ["flexible", "math_verify"])
def test_a_string_rule_that_drops_a_percent_sign_does_not_decide(truth: str, answer: str, extract: str) -> None:
    response = f"so $\\boxed{{{answer}}}$."
    assert _judge(response, truth, equality="string").value == 1.0
    assert not _library(truth, response)
    assert _judge(response, truth, extract=extract).value == 0.0


@pytest.mark.parametrize(
    ("response", "truth", "value", "detail"),
    [
        ("so $7.$", "7", 1.0, "dollars, hendrycks"),
        ("$$x = 3$$", "3", 1.0, "dollars, hendrycks"),
        ("0.50", "1/2", 1.0, "whole reply, math-verify"),
        ("2x+2", "2(x+1)", 1.0, "whole reply, math-verify"),
        ("50^\\circ", "50\\text{ cm}", None, "no answer by the flexible rule"),
        ("hence x + y + z = 0", "0", None, "no answer by the flexible rule"),
        ("\\boxed{8}", "7", 0.0, "boxed, not equal"),
        ("\\boxed{7.0}", "7", 1.0, "boxed, number"),
        ("\\boxed{\\dfrac12}", "1/2", 1.0, "boxed, hendrycks"),
    ],
)
def test_flexible_and_either(response: str, truth: str, value: float | None, detail: str) -> None:
    verdict = _judge(response, truth)
    assert (verdict.value, verdict.detail) == (value, detail)


def test_a_dash_before_a_list_s_item_is_no_minus_sign() -> None:
    assert _judge("It has one root:\n- 5", "5", extract="math_verify").value == 1.0


def test_precision_strict_and_relations_are_the_library_s() -> None:
    assert [_judge("\\boxed{0.33}", "\\frac{1}{3}", precision=places).value for places in (6, 2)] == [0.0, 1.0]
    assert [_judge("\\boxed{f(y)}", "f(x)", strict=strict).value for strict in (True, False)] == [0.0, 1.0]
    relation = "\\boxed{-2 \\le x \\le 7}"
    assert [_judge(relation, "[-2,7]", set_relations=allowed).value for allowed in (False, True)] == [0.0, 1.0]


def test_no_candidate_is_unparsable_and_a_wrong_truth_an_error() -> None:
    assert _judge("I do not know.", "7", extract="math_verify").outcome == "unparsable"
    assert _judge("\\boxed{7}", None, extract="math_verify").outcome == "error"
    assert _judge("\\boxed{7}", [7]).outcome == "error"


HOSTILE = [
    "\\boxed{9**9**9}",
    "\\boxed{9^{9^9}}",
    "9**9**9",
    "\\boxed{\\binom{10^9}{5}}",
    "\\boxed{\\binom{1000000000}{500000000}}",
    "\\boxed{\\binom{\\binom{9}{4}^{9}}{77}}",
    "\\boxed{(10^9)!}",
    "\\boxed{5!!!!!}",
    "\\boxed{\\gcd(10^{10^9},3)}",
    "\\boxed{\\operatorname{eye}(1000000)}",
    "\\boxed{\\prod_{i=1}^{1000000000} i}",
    "\\boxed{" + "9" * 10**5 + "}",
    "9" * 10**5,
    "$" + "{" * 450 + "1" + "}" * 450 + "$",
    "\\boxed{" + "{" * 10**6 + "}" * 10**6 + "}",
    "$" + "(" * 480 + "$",
    "\\boxed{" * 10**4,
    "a" * 10**7,
    "\\boxed{1e999999999}",
    "\\boxed{\x00\ud800\u202e}",
    "\\boxed{5" + " km" * 2000 + "}",
    "\\boxed{９}",
    "٧٢",
    "The answer is ٧٢.",
    "$٧٢$ or ٧٢.٥",
    "√" * 10**6,
    "\\boxed{" + "√(" * 2000 + "72",
    "\\boxed{" + "½" * 2000 + "}",
    "\\boxed{" + "²" * 10**5 + "}",
    "\\boxed{1" + "\\,000" * 10**5 + "}",
    "\\boxed{1}," * 10**4,
    "\\boxed{10^{-9^{9^9}}}",
    "\\(y = 3x\\) %",
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", range(len(HOSTILE)))
@pytest.mark.parametrize("extract", ["flexible", "math_verify"])
def test_hostile_text_is_never_right_and_ends_without_being_killed(number: int, extract: str) -> None:
    for truth in ("72", "x^2 + 1"):
        assert _judge(HOSTILE[number], truth, extract=extract).value in {0.0, None}
    assert _judge("\\boxed{72}", HOSTILE[number][:3000], extract=extract).value in {0.0, None}


def test_a_number_too_large_to_work_out_equals_itself() -> None:
    assert _judge("\\boxed{9^{9^{9}}}", "9^{9^9}", equality="math_verify").value == 1.0
    assert _judge("\\boxed{2^{10}}", "1024", equality="math_verify").value == 1.0


PIECES = st.sampled_from(
    [
        *("1", "22", "x", "y", "i", "\\pi", "\\infty", "0.5", "1/2", "\\frac", "\\sqrt", "\\boxed{", "\\text{ cm}"),
        *("{", "}", "(", ")", "[", "]", "^", "_", "+", "-", "=", "\\cdot", "\\pm", "\\le", "\\cup"),
        *(",", ".", " ", "%", "\\%", "$", "and", "\n"),
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, max_size=8).map("".join), st.lists(PIECES, max_size=8).map("".join))
def test_random_formulas_have_the_library_s_verdict(truth: str, answer: str) -> None:
    for response in (answer, f"The answer is ${answer}$.", f"\\boxed{{{answer}}}"):
        assert bool(symbolic.verdict(truth, response, symbolic.Rules())) == _library(truth, response)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.text("０４२७.,- 1%$", max_size=9), st.sampled_from(["flexible", "math_verify"]))
def test_any_text_has_a_verdict(text: str, extract: str) -> None:
    for response in (text, "\\boxed{" + text + "}", f"${text}$"):
        assert _judge(response, "72", extract=extract).outcome in {"scored", "unparsable"}
    assert _judge("\\boxed{72}", text, extract=extract).outcome in {"scored", "error"}


def test_worker_threads_have_the_same_verdicts() -> None:
    """math-verify's own time limit needs signals and raises outside the main thread; none is used here."""
    cases = [
        VerificationCase(str(at), "", f"\\boxed{{{answer}}}", truth)
        for at, (truth, answer) in enumerate(SAME + DIFFERENT)
    ]
    verifier = _verifier(equality="math_verify")
    alone = verifier.verify(cases)
    with ThreadPoolExecutor(8) as threads:
        assert [v for (v,) in threads.map(lambda case: verifier.verify([case]), cases * 4)] == alone * 4
    assert sum(verdict.value or 0 for verdict in alone) == len(SAME)


def test_it_can_be_sent_to_a_worker() -> None:
    case = VerificationCase("x", "", "\\boxed{2(x+1)}", "2x+2")
    assert pickle.loads(pickle.dumps(_verifier())).verify([case]) == _verifier().verify([case])


def test_sympy_is_imported_only_when_text_does_not_decide() -> None:
    program = """
import sys
from aftertrain.core.records import VerificationCase
from aftertrain.plugins.verifiers.math import Math
from aftertrain.plugins.verifiers.settings import MathSettings
verifier = Math(MathSettings(), None)
verifier.preflight()
def judge(response, truth):
    return verifier.verify([VerificationCase("x", "", response, truth)])[0].value
print(judge("\\\\boxed{1/2}", "\\\\frac12"), judge("\\\\boxed{8}", "7"), "sympy" in sys.modules)
print(judge("\\\\boxed{2x+2}", "2(x+1)"), "sympy" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("1.0 0.0 False\n1.0 True\n", "")


@pytest.mark.parametrize("chosen", [{}, {"equality": "math_verify"}, {"extract": "math_verify", "equality": "string"}])
def test_preflight_names_a_missing_package(chosen: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    _verifier(**chosen).preflight()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(symbolic, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"verifier 'math' needs the package 'math-verify'.*aftertrain\[verifiers\]"):
        _verifier(**chosen).preflight()
    _verifier(equality="string").preflight()


@pytest.mark.parametrize(
    ("package", "present"),
    [("antlr4-python3-runtime", "4.11.1"), ("math-verify", "0.8.0"), ("antlr4-python3-runtime", None)],
)
def test_preflight_names_a_version_with_other_verdicts(
    package: str, present: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == package and present is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return present or "" if name == package else importlib.metadata.version(name)

    monkeypatch.setattr(symbolic, "version", version)
    with pytest.raises(
        AftertrainError, match=rf"{package} .*, found {present or 'none'}.*pip install 'math-verify\[antlr"
    ):
        _verifier().preflight()


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> list[dict[str, Any]]:
    with gzip.open(shared_data / "golden" / "math.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.slow
def test_verdicts_and_readings_are_math_verify_s(golden: list[dict[str, Any]]) -> None:
    """All 3,093 cases: the verdict, and what was read of both sides."""
    cases = [VerificationCase(case["id"], "", case["prediction"], case["gold"]) for case in golden]
    for case, verdict in zip(
        golden, _verifier(extract="math_verify", equality="math_verify").verify(cases), strict=True
    ):
        assert (verdict.value == 1.0) == case["math_verify"], case["id"]
        found = symbolic.find(case["prediction"])
        assert (verdict.outcome == "unparsable") == (found is None), case["id"]
        read = [] if found is None or found.candidate is None else [str(expression.value(found.candidate))]
        read += [found.written] if found is not None and found.written else []
        assert read == case["math_verify_pred_parsed"], case["id"]


AGAINST = ("another unit", "another multiple", "another base", "a value for an equation", "only a part", "a minus sign")


@pytest.mark.slow
def test_either_differs_only_where_it_says_why(golden: list[dict[str, Any]]) -> None:
    """A case that math-verify accepts is refused only for a stated reason; one that it refuses is accepted by a string
    rule, as a complex number, or as a number of groups."""
    cases = [VerificationCase(case["id"], "", case["prediction"], case["gold"]) for case in golden]
    for case, verdict in zip(golden, _verifier(extract="math_verify").verify(cases), strict=True):
        reason = verdict.detail.removeprefix("math_verify, ")
        if case["math_verify"] and verdict.value != 1.0:
            assert reason.startswith(AGAINST), case["id"]
        if not case["math_verify"] and verdict.value == 1.0:
            grouped = reason == "math-verify" and "{,}" in case["prediction"]  # in plain text
            assert grouped or reason in {"hendrycks", "minerva", "minerva then hendrycks", "math-verify, complex"}


def test_math_verify_s_own_tests_agree(shared_data: Path) -> None:
    """All 131, ground truths without a box as they stand there; one has plain text only (`1,22` is 1.22)."""
    with gzip.open(shared_data / "golden" / "math_verify_tests.jsonl.gz", "rt", encoding="utf-8") as file:
        cases = [json.loads(line) for line in file]
    for case in cases:
        config = case["config"]
        rules = symbolic.Rules(config["float_rounding"], config["strict"], config["allow_set_relation_comp"])
        truth, answer = (symbolic.find(case[column]) for column in ("gold_text", "prediction"))
        assert symbolic.alike(truth, answer, rules) == case["math_verify"], case["id"]


def test_a_broken_library_is_found_before_any_case(tmp_path: Path) -> None:
    """One that is installed and cannot be imported would make every answer wrong that text does not decide."""
    (tmp_path / "sympy").mkdir()
    (tmp_path / "sympy/__init__.py").write_text("raise ImportError('broken')")
    case = json.dumps({"response": r"\boxed{2(x+1)}", "ground_truth": "2x+2"})
    command = [sys.executable, "-m", "aftertrain.cli", "verify", "math", "-", "--workers", "1"]
    ended = subprocess.run(
        command,
        input=case,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stdout == ""
    assert "does not work" in ended.stderr
