"""The format verifier: each demand, their sum both ways, what a mistake in settings says, hostile text."""

from __future__ import annotations

import doctest
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.plugins.verifiers import format as module
from aftertrain.plugins.verifiers.settings import FormatSettings


def _verifier(**settings: Any) -> module.Format:
    return module.Format(FormatSettings.model_validate(settings), builder=None)  # type: ignore[arg-type]


def _judge(response: str, truth: Any = None, **settings: Any) -> Verdict:
    (verdict,) = _verifier(**settings).verify([VerificationCase("x", "", response, truth)])
    return verdict


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("<think>3 + 4</think><answer>7</answer>", 1),
        ("\n<think>\n3 + 4\n</think>\n\n<answer> 7 </answer>\n", 1),
        ("<think>is 3 < 4 > 2?</think><answer><b>7</b></answer>", 1),
        ("", 0),
        ("7", 0),
        ("<answer>7</answer>", 0),
        ("<think>3 + 4</think>", 0),
        ("<think>3 + 4</think> so <answer>7</answer>", 0),
        ("Well: <think>3 + 4</think><answer>7</answer>", 0),
        ("<think>3 + 4</think><answer>7</answer>.", 0),
        ("<answer>7</answer><think>3 + 4</think>", 0),
        ("<think>3 + 4</think><answer> </answer>", 0),
        ("<think></think><answer>7</answer>", 0),
        ("<think>3 + 4<answer>7</answer></think>", 0),
        ("<think>3 + 4</think><answer>7", 0),
        ("<think>3</answer></think><answer>7", 0),
        ("<think>3 + 4</think><answer>7</answer><answer>8</answer>", 0),
        ("<think><think>3 + 4</think><answer>7</answer>", 0),
        ("<THINK>3 + 4</THINK><answer>7</answer>", 0),
        ("<think >3 + 4</think><answer>7</answer>", 0),
    ],
)
def test_tags(response: str, value: int) -> None:
    assert _judge(response).value == value


def test_tags_have_names_and_the_last_block_is_shown() -> None:
    assert _judge("<plan>x</plan> <code>y</code> <out> z </out>", tags=["plan", "code", "out"]).extracted == "z"
    assert _judge("<think>x</think>", tags=["think"]).value == 1.0
    assert _judge("no tags", max_words=2, tags=[]).extracted is None


@pytest.mark.parametrize(
    ("settings", "response", "value"),
    [
        ({"max_characters": 4}, "four", 1),
        ({"max_characters": 4}, "four ", 0),
        ({"max_characters": 2}, "🙂é", 1),
        ({"max_words": 2}, " two\n words ", 1),
        ({"max_words": 2}, "now three words", 0),
        ({"min_characters": 4}, "four", 1),
        ({"min_characters": 5}, "four", 0),
        ({"min_words": 2, "max_words": 2}, "two words", 1),
        ({"min_words": 2}, "one ", 0),
        ({"min_words": 1}, "", 0),
        ({"stop": ["."]}, "It ends.", 1),
        ({"stop": ["."]}, "It ends. \n", 1),
        ({"stop": [".", "!"]}, "It ends!", 1),
        ({"stop": ["."]}, "It does not", 0),
        ({"stop": ["\n\n"]}, "kept as it is\n\n", 1),
        ({"stop": ["."]}, "", 0),
    ],
)
def test_length_and_stop(settings: dict[str, Any], response: str, value: int) -> None:
    assert _judge(response, tags=[], **settings).value == value


def test_the_value_is_all_or_the_share_of_the_demands_met() -> None:
    """Four demands: the tags are right, 53 characters exceed 40, 4 words are within 6, no full stop ends it.

    Two of four are met, 2/4. Without tags, 21 characters and 4 words are within, no stop: also 2/4. An empty reply
    keeps within two lengths and lacks the stop: 2/3.
    """
    demands = {"max_characters": 40, "max_words": 6, "stop": ["."]}
    response = "<think>three and four</think>\n<answer>seven!</answer>"
    assert (len(response), len(response.split())) == (53, 4)
    share = _judge(response, **demands, score="share")
    assert (share.value, share.detail) == (0.5, "2 of 4 demands met; not met: max_characters, stop")
    assert _judge(response, **demands).value == 0.0
    assert _judge("three and four: seven", **demands, score="share").value == 0.5
    assert _judge("", tags=[], stop=["."], max_words=1, max_characters=1, score="share").value == 2 / 3
    every = _judge(response, max_characters=53, max_words=4, stop=[">"])
    assert (every.value, every.detail) == (1.0, "4 of 4 demands met")


@pytest.mark.parametrize(
    "settings",
    [
        {"tags": []},
        {"tags": ["think", "think"]},
        {"tags": ["<think>"]},
        {"tags": [""]},
        {"stop": [""]},
        {"max_words": 0},
        {"min_words": 3, "max_words": 2},
        {"min_characters": 3, "max_characters": 2},
        {"max_characters": -1},
    ],
)
def test_settings_that_demand_nothing_or_nonsense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _verifier(**settings)


@pytest.mark.parametrize("truth", [None, "7", 7, 7.5, True, ["7"], {"a": 7}])
def test_the_ground_truth_is_not_looked_at(truth: Any) -> None:
    assert _judge("<think>3 + 4</think><answer>7</answer>", truth).value == 1.0


@pytest.mark.parametrize("truth", [b"7", object(), {7}])
def test_a_ground_truth_that_is_not_json_is_an_error(truth: Any) -> None:
    verdict = _judge("<think>3 + 4</think><answer>7</answer>", truth)
    assert verdict.outcome == "error"
    assert "must be JSON" in verdict.detail


@given(st.text(), st.sampled_from(["all", "share"]))
def test_any_text_is_scored(text: str, score: str) -> None:
    verdict = _judge(text, max_words=5, max_characters=20, stop=["."], score=score)
    assert verdict.outcome == "scored"
    if text.strip() and "think>" not in text and "answer>" not in text:
        assert _judge(f"<think>x</think><answer>{text}</answer>").value == 1.0


@pytest.mark.timeout(20)
def test_long_texts_take_linear_time() -> None:
    for text in ("<think>" * 140_000, "</answer>" * 110_000, "<" * 1_000_000, " " * 1_000_000, "\ud800\x00" * 500_000):
        assert _judge(text, max_characters=100, max_words=5, stop=["."]).value == 0.0


def test_it_can_be_sent_to_a_worker() -> None:
    case = VerificationCase("x", "", "<think>a</think><answer>b</answer>", None)
    assert pickle.loads(pickle.dumps(_verifier())).verify([case]) == _verifier().verify([case])
