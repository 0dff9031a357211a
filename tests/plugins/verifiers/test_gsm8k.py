"""The gsm8k verifier (F32): its rules one by one, hostile text, and the reference checkers' verdicts."""

from __future__ import annotations

import gzip
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aftertrain
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.plugins.verifiers.gsm8k import GSM8K
from aftertrain.plugins.verifiers.settings import GSM8KSettings


def _verifier(extract: str = "strict", equality: str = "decimal") -> GSM8K:
    return GSM8K(GSM8KSettings.model_validate({"extract": extract, "equality": equality}), builder=None)  # type: ignore[arg-type]


def _judge(response: str, truth: Any, extract: str = "strict", equality: str = "decimal") -> Verdict:
    (verdict,) = _verifier(extract, equality).verify([VerificationCase("x", "", response, truth)])
    return verdict


@pytest.mark.parametrize(
    ("extract", "response", "extracted"),
    [
        ("strict", "3 + 4 = 7\n#### 7", "7"),
        ("strict", "#### 1,234.50\nmore 9", "1,234.50"),
        ("strict", "#### 39\n#### 40", "39"),
        ("strict", "####7", None),
        ("strict", "The answer is 7", None),
        ("flexible", "first 3, then $1,234.", "$1,234."),
        ("flexible", "it is -42", "-42"),
        ("flexible", "It is 50%", "50"),
        ("flexible", "no number", None),
        ("tulu", "1,234 apples, or 1,235.5", "1235.5"),
        ("tulu", "it is -42.", "-42"),
        ("tulu", "It costs .5", ".5"),
        ("tulu", "many", None),
    ],
)
def test_extraction(extract: str, response: str, extracted: str | None) -> None:
    verdict = _judge(response, "7", extract)
    assert verdict.extracted == extracted
    assert verdict.outcome == ("unparsable" if extracted is None else "scored")


@pytest.mark.parametrize(
    ("response", "truth", "decimal", "string"),
    [
        ("#### 72", "72", 1.0, 1.0),
        ("#### 72.0", "72", 1.0, 0.0),
        ("#### 72.", 72, 1.0, 1.0),
        ("#### 1,234", "1234", 1.0, 1.0),
        ("#### 1234", "1,234", 1.0, 1.0),
        ("#### -72", "72", 0.0, 0.0),
        ("#### 0", 0.0, 1.0, 0.0),
        ("#### 0.1", 0.1, 1.0, 1.0),
        ("#### 12", "3 * 4 = 12\n#### 12", 1.0, 1.0),
        ("#### 007", "7", 1.0, 0.0),
    ],
)
def test_equality(response: str, truth: Any, decimal: float, string: float) -> None:
    """Exact values, no floats: 0.1 is one tenth; a true 0.0 is a score, not a missing one."""
    assert _judge(response, truth).value == decimal
    assert _judge(response, truth, equality="string").value == string


@pytest.mark.parametrize("truth", [None, True, [], {"answer": 7}, "seven", "", float("nan"), "####"])
def test_a_ground_truth_of_the_wrong_kind_is_an_error_that_says_so(truth: Any) -> None:
    verdict = _judge("#### 7", truth)
    assert verdict.outcome == "error"
    assert "ground truth must be a number" in verdict.detail


def test_an_integer_too_long_to_write_out_is_a_number_all_the_same() -> None:
    """`str` and `repr` raise ValueError on integers of more than 4,300 digits."""
    assert _judge("#### 1" + "0" * 5000, 10**5000).value == 1.0
    assert _judge("#### 5", {"n": 10**5000}).outcome == "error"


def test_what_is_no_number_is_unparsable() -> None:
    verdict = _judge("well...", "7", "flexible")
    assert verdict.outcome == "unparsable"
    assert verdict.detail == "'...' is not a number"


def test_a_comma_behind_the_point_makes_no_number() -> None:
    """`7.000,00` is seven thousand to some: it must not be read as 7."""
    assert _judge("#### 7.000,00", "7").outcome == "unparsable"
    assert _judge("#### 7,000.50,", "7000.5").value == 1.0


@given(st.text("19.,$-+ a", max_size=60), st.sampled_from(["flexible", "tulu"]))
def test_the_end_of_a_long_text_is_read_as_the_whole_is(text: str, extract: str) -> None:
    """A match is found where the reference's `findall` finds its last, however much stands before it."""
    for before in ("", "x 7 " * 1_500, "7" * 5_000, "-$1," * 1_500, "1,234," * 1_000):
        reply = before + text
        pattern, plain = {
            "flexible": (r"-?[$0-9.,]{2,}|-?[0-9]+", reply),
            "tulu": (r"[-+]?\d*\.\d+|[-+]?\d+", re.sub(r"(\d),(\d)", r"\1\2", reply)),
        }[extract]
        found = re.findall(pattern, plain)
        assert _judge(reply, "7", extract, "string").extracted == (found[-1][:200] if found else None)


HOSTILE = [
    "",
    "\x00\ud800\u202e",
    "#### " * 200_000,
    "9" * 1_000_000,
    "#### " + "9" * 100_000,
    "1,2" * 300_000,
    "-$.," * 250_000,
    "1." * 500_000,
    "-" * 1_000_000,
    "#### １２３",
    "#### ٧٢",
    "#### 1e999999999",
    "9**9**9",
]


@pytest.mark.parametrize("extract", ["strict", "flexible", "tulu"])
@pytest.mark.parametrize("equality", ["decimal", "string"])
@pytest.mark.timeout(20)
def test_hostile_text_is_never_right_and_never_hangs(extract: str, equality: str) -> None:
    for response in HOSTILE:
        verdict = _judge(response, "72", extract, equality)
        assert verdict.value in {0.0, None}
        assert verdict.extracted is None or len(verdict.extracted) <= 200


@given(st.text(), st.sampled_from(["strict", "flexible", "tulu"]), st.sampled_from(["decimal", "string"]))
def test_any_text_has_a_verdict(text: str, extract: str, equality: str) -> None:
    assert _judge(text, "72", extract, equality).outcome in {"scored", "unparsable"}
    assert _judge("#### 72", text, extract, equality).outcome in {"scored", "error"}


def test_it_can_be_sent_to_a_worker() -> None:
    case = VerificationCase("x", "", "#### 72", "72")
    assert pickle.loads(pickle.dumps(_verifier("tulu"))).verify([case]) == _verifier("tulu").verify([case])


def _golden(shared_data: Path) -> list[dict[str, Any]]:
    with gzip.open(shared_data / "golden" / "gsm8k.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(
    ("extract", "verdict_key", "extracted_key"),
    [
        ("strict", "gsm8k_strict_match", "gsm8k_strict_match_extracted"),
        ("flexible", "gsm8k_flexible_extract", "gsm8k_flexible_extract_extracted"),
        ("tulu", "open_instruct_gsm8k", None),
    ],
)
def test_string_verdicts_are_the_references(
    shared_data: Path, extract: str, verdict_key: str, extracted_key: str | None
) -> None:
    """All 1,475 golden cases, verdicts and, for lm-eval, extracted texts."""
    cases = _golden(shared_data)
    truth = "label" if extract == "tulu" else "gold_answer"
    verdicts = _verifier(extract, "string").verify(
        [VerificationCase(case["id"], "", case["response"], case[truth]) for case in cases]
    )
    wrong = [
        (case["kind"], case["response"][-60:], case["label"], verdict)
        for case, verdict in zip(cases, verdicts, strict=True)
        if (verdict.value or 0.0) != case[verdict_key]
        or (extracted_key and (verdict.extracted or "[invalid]") != case[extracted_key])
    ]
    assert wrong == []


ACCEPTED = {
    **dict.fromkeys(("ans_dec", "hash_dec", "hash_dec2", "only_dec", "hash_words"), "72.0 is 72"),
    **{"ellipsis": "points end the sentence", "lead0": "072 is 72", "neg_dollar": "-$0 is 0", "sci": "7e0 is 7"},
}
REFUSED = {
    "uminus": "a minus sign of another shape: −42 is not 42",
    "space_k": "the last group of a number: 1 102 is 1,102",
    "neg_dollar": "two signs: -$-5",
    "hash_neg": "two signs: --1200",
    "range": "two signs: -1190--1200",
    "lead0": "a difference: 0-5",
}


def test_decimal_differs_only_in_how_numbers_are_written(shared_data: Path) -> None:
    """Where the decimal rule disagrees with lm-eval: kind by kind, what it accepts and what it refuses, and why."""
    cases = _golden(shared_data)
    verdicts = _verifier("flexible").verify(
        [VerificationCase(case["id"], "", case["response"], case["gold_answer"]) for case in cases]
    )
    kinds: dict[float, set[str]] = {0.0: set(), 1.0: set()}
    for case, verdict in zip(cases, verdicts, strict=True):
        if (verdict.value or 0.0) != case["gsm8k_flexible_extract"]:
            kinds[verdict.value or 0.0].add(case["kind"])
    assert kinds == {0.0: set(REFUSED), 1.0: set(ACCEPTED)}


FIELD = [
    ("The loss is −5.", "5", 0.0),
    ("The loss is −5.", "-5", 1.0),
    ("The loss is –5.", "5", 0.0),
    ("The loss is - $5.", "5", 0.0),
    ("The loss is negative 5.", "-5", 1.0),
    ("\\boxed{$9{,}500}", "500", 0.0),
    ("\\boxed{$9{,}500}", "9500", 1.0),
    ("It is $9\\,500$.", "500", 0.0),
    ("It is $9\\,500$.", "9,500", 1.0),
    ("It is 9\u202f500.", "9500", 1.0),
    ("It is 9’500.", "500", 0.0),
    ("It is ９５００.", "9500", 1.0),
    ("It is 1,5.", "15", 0.0),
    ("It is 1,5.", "5", 0.0),
    ("It is 1/2.", "2", 0.0),
    ("It is 1/2.", "0.5", 1.0),
    ("It is \\sqrt{25}.", "25", 0.0),
    ("It is 1.5 × 10³.", "1500", 1.0),
    ("It is 1.5 × 10³.", "3", 0.0),
    ("It has 25 cm².", "25", 1.0),
]


def test_numbers_as_people_write_them() -> None:
    """From the API that users call; neither half of a number is paid."""
    cases = [{"response": response, "ground_truth": truth} for response, truth, _ in FIELD]
    for extract in ("flexible", "tulu"):
        verdicts = aftertrain.verify("gsm8k", cases, extract=extract)
        assert [verdict.value for verdict in verdicts] == [value for *_, value in FIELD]


@pytest.mark.parametrize("truth", ["−5", "-5.0", "-$5", "－５", "so it is\n#### −5"])
def test_a_ground_truth_is_read_like_a_reply(truth: str) -> None:
    assert _judge("#### -5", truth).value == 1.0
    assert _judge("#### 5", truth).value == 0.0


@pytest.mark.parametrize("truth", ["1,5", "7.000,00", "5 apples", "10-5", "٤٢"])
def test_a_ground_truth_with_no_one_reading_is_an_error(truth: str) -> None:
    assert _judge("#### 5", truth).outcome == "error"
