"""The verifier `minerva`: lm-eval's verdicts on golden cases, and OLMES's flexible rule put together from them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.records import VerificationCase
from aftertrain.plugins.verifiers.latex import hendrycks
from aftertrain.plugins.verifiers.minerva import Minerva, equal
from aftertrain.plugins.verifiers.settings import MinervaSettings

EVERY = 40
"""One of so many golden cases is judged; all 3,093 agree, and take a quarter of a minute."""


def golden(shared_data: Path) -> list[dict[str, Any]]:
    lines = gzip.decompress((shared_data / "golden" / "math.jsonl.gz").read_bytes()).decode().splitlines()
    return [json.loads(line) for line in lines][::EVERY]


def value(extract: str, response: str, truth: str) -> float | None:
    verifier = Minerva(MinervaSettings.model_validate({"extract": extract}), None)  # type: ignore[arg-type]
    (verdict,) = verifier.verify([VerificationCase("", "", response, truth)])
    return verdict.value


def test_sentence_is_lm_evals_exact_match(shared_data: Path) -> None:
    for case in golden(shared_data):
        ours = value("sentence", case["prediction"], f"So $\\boxed{{{case['gold']}}}$.") or 0.0
        assert ours == case["minerva_exact_match"], case["id"]


def test_flexible_is_the_best_of_sentence_and_box_by_either_equality(shared_data: Path) -> None:
    """OLMES: 1 where lm-eval's exact match is, or the box in normal form is equal by SymPy or by Hendrycks' rule."""
    seen = 0
    for case in golden(shared_data):
        boxed = case["last_boxed"]
        if boxed is None or boxed != case["answer"]:
            continue
        seen += 1
        texts = [hendrycks(case[key]) for key in ("answer_normalized", "gold_normalized")]
        alike = texts[0] == texts[1] if None not in texts else case["answer_normalized"] == case["gold_normalized"]
        wanted = float(case["minerva_exact_match"] or case["minerva_pair"] or alike)
        assert (value("flexible", case["prediction"], f"\\boxed{{{case['gold']}}}") or 0.0) == wanted, case["id"]
    assert seen > 20


@pytest.mark.parametrize(
    ("response", "truth", "expected"),
    [
        ("the sum is $3$ and then $\\frac12$", "0.5", 1.0),
        ("$7$ not $8", "7", 0.0),  # between the last two dollar signs is " not "
        ("7", "7", 1.0),
        ("it is seven", "7", None),
        ("", "7", None),
        ("$\\boxed{8}$ Final Answer: The final answer is $7$. I hope it is correct.", "7", 1.0),
        ("$\\boxed{7}$ Final Answer: The final answer is $8$. I hope it is correct.", "7", 1.0),
        ("$\\boxed{(3,\\frac{\\pi}{2})}$", "\\boxed{(3, \\frac{\\pi}{2})}", 1.0),
    ],
)
def test_flexible_by_hand(response: str, truth: str, expected: float | None) -> None:
    assert value("flexible", response, truth) == expected


def test_values_are_sympys() -> None:
    assert equal("2x+2", "2(x+1)")
    assert equal("\\sqrt{8}", "2\\sqrt{2}")
    assert not equal("[2,5)", "[2,5]"), "SymPy reads neither"
    assert not equal("x+1", "x+2")


def test_a_list_equals_its_first_item_for_the_reference_alone() -> None:
    assert equal("3,5,7", "3")
    assert not equal("3,5,7", "3", whole=True)
    assert equal("2x+2", "2(x+1)", whole=True)
    case = VerificationCase("", "", "$\\boxed{3, 5, 7}$", "3")
    verdicts = [
        Minerva(MinervaSettings(compat=compat), None).verify([case])[0].value  # type: ignore[arg-type]
        for compat in (True, False)
    ]
    assert verdicts == [1.0, 0.0]


def test_a_ground_truth_that_is_no_text_is_an_error() -> None:
    verifier = Minerva(MinervaSettings(), None)  # type: ignore[arg-type]
    verdicts = verifier.verify([VerificationCase("", "", "$7$", truth) for truth in (None, 7, " ")])
    assert {verdict.outcome for verdict in verdicts} == {"error"}
