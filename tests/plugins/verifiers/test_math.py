r"""The math verifier (F32) with equality of texts: extraction, rules, hostile text, and the references' verdicts."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.plugins.verifiers.latex import hendrycks, minerva
from aftertrain.plugins.verifiers.math import Math, alike, boxed, phrase
from aftertrain.plugins.verifiers.settings import MathSettings

EXTRACT = ["boxed", "minerva", "flexible"]


def _verifier(extract: str = "flexible") -> Math:
    settings = {"extract": extract, "equality": "string"}
    return Math(MathSettings.model_validate(settings), builder=None)  # type: ignore[arg-type]


def _judge(response: str, truth: Any, extract: str = "flexible") -> Verdict:
    (verdict,) = _verifier(extract).verify([VerificationCase("x", "", response, truth)])
    return verdict


@pytest.mark.parametrize(
    ("extract", "response", "extracted"),
    [
        ("boxed", "$\\boxed{7}$ or $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("boxed", "$\\boxed 7$ then", "7"),
        ("boxed", "$\\boxed 7$, $\\boxed{8}$", "7"),  # the reference looks for the space first
        ("boxed", "\\boxed{7", None),
        ("boxed", "\\boxed7", None),
        ("boxed", "\\fbox{7}", None),
        ("boxed", "\\boxed{}", ""),
        ("boxed", "Final Answer: The final answer is $7$. I hope it is correct.", None),
        ("minerva", "Final Answer: The final answer is $7$. I hope it is correct.", "$7$"),
        ("minerva", "Final Answer: The final answer is $7$. ", "$7$"),  # generation stopped at "I hope"
        ("minerva", "Final Answer: The final answer is $7$.", None),
        ("minerva", "Final Answer: The final answer is\n7. I hope it is correct.", None),
        ("minerva", "\\boxed{7}", None),
        ("flexible", "\\boxed{8} Final Answer: The final answer is $9$. I hope it is correct.", "8"),
        ("flexible", "$1$, then $2$", "2"),
        ("flexible", "$1", None),
        ("flexible", "", None),
    ],
)
def test_extraction(extract: str, response: str, extracted: str | None) -> None:
    verdict = _judge(response, "7777", extract)
    assert verdict.extracted == extracted
    assert verdict.outcome == ("unparsable" if extracted is None else "scored")


SENTENCE = "Final Answer: The final answer is {}. I hope it is correct."


@pytest.mark.parametrize(
    ("response", "truth", "value", "detail"),
    [
        ("\\boxed{\\dfrac12}", "1/2", 1.0, "boxed, hendrycks"),
        ("\\boxed{x/y}", "x/y", 1.0, "boxed, hendrycks"),  # where the rule does not apply, texts are compared
        ("\\boxed{x / y}", "x/y", 1.0, "boxed, minerva"),
        ("\\boxed{10000}", "10,\\!000", 1.0, "boxed, minerva"),
        ("\\boxed{3}", "4", 0.0, "boxed, not equal"),
        (
            "\\boxed{\\text{feet}}",
            "\\text{meters}",
            0.0,
            "boxed, not equal",
        ),  # both rules forget units; nothing is left
        ("\\boxed{\\text{ feet}}", "\\text{ meters}", 0.0, "boxed, not equal"),
        ("\\boxed{}", "\\text{ meters}", 0.0, "boxed, not equal"),
        ("\\boxed{0}", "1", 0.0, "boxed, not equal"),
        ("\\boxed{73 degrees}", "73\\%", 0.0, "boxed, not equal"),  # two rules that each drop a unit make no equality
        ("\\boxed{3} " + SENTENCE.format("$4$"), "4", 1.0, "sentence, minerva"),  # either of the two counts
        (SENTENCE.format("4"), 4, 1.0, "sentence, hendrycks"),
        (SENTENCE.format("$\\dfrac12$"), "\\frac{1}{2}", 1.0, "sentence, minerva then hendrycks"),
        ("\\boxed{3}, not $4$", "4", 0.0, "boxed, not equal"),  # dollars do not, beside a box
        ("so $4$", "4", 1.0, "dollars, hendrycks"),
        (" 4\n", "4", 1.0, "whole reply, hendrycks"),
        ("hence x + y + z = 0", "x = 0", None, "no answer by the flexible rule"),
        ("0.5", 0.5, 1.0, "whole reply, hendrycks"),
    ],
)
def test_verdict_and_rule(response: str, truth: Any, value: float | None, detail: str) -> None:
    """A true 0.0 is a score, not a missing one."""
    verdict = _judge(response, truth)
    assert (verdict.value, verdict.detail) == (value, detail)


@pytest.mark.parametrize("truth", [None, True, [], {"a": 7}, "", " \n", float("nan"), float("inf"), b"7", "huge"])
def test_a_ground_truth_of_the_wrong_kind_is_an_error_that_says_so(truth: Any) -> None:
    verdict = _judge("\\boxed{7}", -(10**5000) if truth == "huge" else truth)
    assert verdict.outcome == "error"
    assert "ground truth must be" in verdict.detail


DEEP = 1_000_000
HOSTILE = [
    "\x00\ud800\u202e",
    "\\boxed{" + "{" * DEEP,
    "\\boxed{" + "{" * DEEP + "}" * DEEP + "}",
    "\\boxed{" * DEEP,
    "\\boxed{" + "\\text{" * DEEP + "}",
    "\\boxed{" + "\\sqrt[" * DEEP + "]}",
    "\\boxed{" + "\\frac" * DEEP + "}",
    "\\boxed{" + "\\sqrt" * DEEP + "1}",
    "\\boxed{" + "9" * DEEP + "/" + "9" * DEEP + "}",
    "\\boxed{" + "1," * DEEP + "}",
    "\\boxed{" + "\\a ft" * DEEP + "}",
    "\\boxed{" + "a" * (10 * DEEP) + "}",
    "Final Answer: The final answer is" * (DEEP // 10),
    "Final Answer: The final answer is" + ". I hope it is correct\n" * (DEEP // 10),
    "$" * DEEP,
    "$" + "x\n$" * DEEP,
    "\\boxed{9**9**9}",
    "\\boxed{\\binom{10^9}{5}}",
    "\\boxed{７２}",
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_text_is_never_right_and_never_hangs(number: int) -> None:
    for extract in EXTRACT:
        verdict = _judge(HOSTILE[number], "72", extract)
        assert verdict.value in {0.0, None}
        assert verdict.extracted is None or len(verdict.extracted) <= 200


def test_a_hostile_ground_truth_has_a_verdict() -> None:
    assert _judge("\\boxed{72}", HOSTILE[0]).value == 0.0
    assert _judge("\\boxed{72}", HOSTILE[1]).outcome == "error"  # a box without its end


@given(st.text(), st.sampled_from(EXTRACT))
def test_any_text_has_a_verdict(text: str, extract: str) -> None:
    assert _judge(text, "72", extract).outcome in {"scored", "unparsable"}
    assert _judge("\\boxed{" + text + "}", "72", extract).outcome in {"scored", "unparsable"}
    assert _judge("\\boxed{72}", text).outcome in {"scored", "error"}


def test_a_setting_of_math_verify_that_is_not_asked_is_refused() -> None:
    with pytest.raises(ValueError, match=r"precision\s+set, and not used: it is for equality: math_verify or either"):
        MathSettings(equality="string", precision=3)
    assert MathSettings(equality="either", precision=3).precision == 3


def test_it_can_be_sent_to_a_worker() -> None:
    case = VerificationCase("x", "", "\\boxed{72}", "72")
    assert pickle.loads(pickle.dumps(_verifier())).verify([case]) == _verifier().verify([case])


@pytest.fixture
def golden(shared_data: Path) -> list[dict[str, Any]]:
    with gzip.open(shared_data / "golden" / "math.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_answers_are_found_where_the_references_find_them(golden: list[dict[str, Any]]) -> None:
    for case in golden:
        assert boxed(case["prediction"]) == case["last_boxed"], case["id"]
        assert (phrase(case["prediction"]) or "[invalidanswer]") == case["minerva_extracted"], case["id"]


def test_equality_is_the_references(golden: list[dict[str, Any]]) -> None:
    """Hendrycks' verdict on each of the answers that lm-eval and open-instruct compare."""
    for case in golden:
        assert alike(case["answer"], case["gold"]) == case["hendrycks_pair"], case["id"]
        assert alike(case["hendrycks_extracted"], case["gold"]) == case["hendrycks_exact_match"], case["id"]


def test_verdicts_are_the_references(golden: list[dict[str, Any]]) -> None:
    """All 3,093 cases: Hendrycks' verdict on the box, and equality of Minerva's normal forms on the sentence."""
    cases = [VerificationCase(case["id"], "", case["prediction"], case["gold"]) for case in golden]
    for case, box, sentence in zip(
        golden, _verifier("boxed").verify(cases), _verifier("minerva").verify(cases), strict=True
    ):
        assert (box.outcome == "unparsable") == (case["last_boxed"] is None), case["id"]
        assert (box.detail == "boxed, hendrycks") == case["hendrycks_boxed"], case["id"]
        found = case["minerva_extracted"] != "[invalidanswer]"
        assert (sentence.outcome == "scored") == found, case["id"]
        if found and case["minerva_normalized"] == case["gold_normalized"]:
            assert sentence.value == 1.0, case["id"]
        if sentence.detail == "sentence, minerva":
            assert case["minerva_normalized"] == case["gold_normalized"], case["id"]


def test_flexible_accepts_no_more_than_its_rules(golden: list[dict[str, Any]]) -> None:
    """The cascade finds what the single rules find; `dollars` and the whole reply count only where neither is there."""
    cases = [VerificationCase(case["id"], "", case["prediction"], case["gold"]) for case in golden]
    verdicts = {extract: _verifier(extract).verify(cases) for extract in EXTRACT}
    for case, box, sentence, verdict in zip(golden, *verdicts.values(), strict=True):
        if box.outcome == sentence.outcome == "unparsable":
            assert verdict.detail.startswith(("dollars", "whole reply", "no answer")), case["id"]
        else:
            assert verdict.value == max(box.value or 0.0, sentence.value or 0.0), case["id"]
        if verdict.detail.startswith("whole reply"):
            assert case["open_instruct_math"] == 1.0, case["id"]


def test_rules_are_those_of_the_module() -> None:
    """`x = 5` is 5 by both rules, `x + y = 5` only by Minerva's: what its published scores hold."""
    assert hendrycks("x = 5") == minerva("x = 5") == "5"
    assert (hendrycks("x + y = 5"), minerva("x + y = 5")) == ("x+y=5", "5")
