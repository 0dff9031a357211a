"""Labels that list instructions, as open-instruct writes them: their forms, ids of both sets in one, what is wrong."""

from __future__ import annotations

import doctest
import json
from typing import Any

import pytest

from aftertrain.api.evaluation import build_verifier
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.plugins.instructions import label

COMMA, NUMBERS = "punctuation:no_comma", "count:numbers"
MIXED = [{"instruction_id": [COMMA, NUMBERS], "kwargs": [None, {"N": 1}]}]
SINGLE = [{"instruction_id": COMMA, "kwargs": {}}, {"instruction_id": NUMBERS, "kwargs": {"N": 1}}]


def _judge(response: str, truth: Any, name: str = "ifeval", **settings: Any) -> Verdict:
    (verdict,) = build_verifier(name, settings).verify([VerificationCase("x", "", response, truth)])
    return verdict


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(label).failed == 0


@pytest.mark.parametrize("name", ["ifeval", "ifbench"])
@pytest.mark.parametrize(
    "truth",
    [
        MIXED,
        MIXED[0],
        json.dumps(MIXED[0]),
        str(MIXED[0]),
        SINGLE,
        json.dumps(MIXED),
        str(MIXED),
        str([json.dumps(MIXED[0])]),
        [json.dumps(entry) for entry in SINGLE],
    ],
    ids=["lists", "alone", "alone-json", "alone-python", "entries", "json", "python", "json-in-python", "json-entries"],
)
def test_every_form_and_both_sets(truth: Any, name: str) -> None:
    """Two instructions: no comma (IFEval), exactly one number (IFBench)."""
    assert _judge("area 51", truth, name).value == 1.0
    half = _judge("area, 51", truth, name, level="instruction")
    assert (half.value, half.detail) == (0.5, f"strict, 1 of 2 followed: {COMMA} no; {NUMBERS} yes")
    assert _judge("area, 51", truth, name).value == 0.0
    assert _judge("area 51 and 52", truth, name, level="instruction").value == 0.5
    assert _judge("", truth, name).value == 0.0


def test_the_answer_is_judged_as_open_instruct_does() -> None:
    assert _judge("<think>one, two, 3 and 4</think><answer>area 51</answer>", MIXED).value == 1.0
    assert _judge("<think>one 1</think>", MIXED).value == 0.0
    assert _judge("<think>one 1", MIXED).value == 0.0
    assert _judge("one, 2</think> area 51", MIXED).value == 1.0
    assert _judge("<think>a, 1</think> b 1", {"instruction_id_list": [COMMA], "kwargs": [{}]}).value == 0.0
    cut = _judge("<think>a, 1</think> b 1", {"instruction_id_list": [COMMA], "kwargs": [{}]}, thoughts="cut")
    assert cut.value == 1.0


def test_loose_and_weights_go_over_both() -> None:
    assert _judge("Sure, yes:\narea 51", MIXED, mode="loose").value == 1.0
    assert _judge("area, 51", MIXED, level="instruction", weights={NUMBERS: 3}).value == 0.75
    assert _judge("area, 51", MIXED, "ifbench", level="instruction", weights={COMMA: 3}).value == 0.25


@pytest.mark.parametrize(
    ("truth", "told"),
    [
        ([], "an empty list"),
        ("[]", "an empty list"),
        ([{"instruction_id": []}], "at least one"),
        ([{"instruction_id": [COMMA], "kwargs": []}], "1 in instruction_id, but 0 in kwargs"),
        ([{"instruction_id": [COMMA], "kwargs": [7]}], "must be a mapping, not int"),
        ([{"instruction_id": [COMMA], "kwargs": {}}], "kwargs must be a list, as instruction_id is, not dict"),
        ([{"instruction_id": ["count:number"], "kwargs": [{"N": 1}]}], "Did you mean 'count:numbers'"),
        ([{"instruction_id": [NUMBERS]}], "count:numbers lacks N"),
        ([{"instruction_id": COMMA, "kwarg": {}}], "a field 'kwarg'"),
        ([{"id": COMMA}], "entry 1 of the ground truth must be a mapping with instruction_id"),
        ("[__import__('os')]", "neither JSON nor Python's list"),
        ("[1", "neither JSON nor Python's list"),
        ("[" * 50_000, "neither JSON nor Python's list"),
        ("['\\d']", "neither JSON nor Python's list"),
    ],
)
@pytest.mark.parametrize("name", ["ifeval", "ifbench"])
def test_a_label_that_cannot_be_read_is_an_error(truth: Any, told: str, name: str) -> None:
    verdict = _judge("area 51", truth, name)
    assert verdict.outcome == "error"
    assert told in verdict.detail
