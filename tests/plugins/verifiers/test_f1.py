"""The f1 verifier: values worked by hand, aliases, blank texts, wrong ground truths, hostile text."""

from __future__ import annotations

import doctest
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.plugins.verifiers import f1
from aftertrain.plugins.verifiers.settings import F1Settings


def _verifier(normalize: str = "squad") -> f1.TokenF1:
    return f1.TokenF1(F1Settings.model_validate({"normalize": normalize}), builder=None)  # type: ignore[arg-type]


def _judge(response: str, truth: Any, normalize: str = "squad") -> Verdict:
    (verdict,) = _verifier(normalize).verify([VerificationCase("x", "", response, truth)])
    return verdict


def test_the_worked_example_holds() -> None:
    assert doctest.testmod(f1).failed == 0


@pytest.mark.parametrize(
    ("response", "truth", "precision", "recall"),
    [
        ("The cat sat.", "a cat sat", 2 / 2, 2 / 2),
        # {cat, sat, down} and {cat, sat} share two words
        ("the cat sat down", "cat sat", 2 / 3, 2 / 2),
        # {in, 1999} and {december, 31, 1999} share one
        ("In 1999", "December 31, 1999", 1 / 2, 1 / 3),
        # {no, no, no} and {no, no, yes}: a word counts as often as both have it, twice
        ("no no no", "no no yes", 2 / 3, 2 / 3),
        # five words for one right one: precision pays
        ("red green blue black white", "blue", 1 / 5, 1 / 1),
        # punctuation is removed, not made a space: eiffeltower is one word and shares none
        ("Eiffel-Tower", "Eiffel Tower", 0.0, 0.0),
    ],
)
def test_values_worked_by_hand(response: str, truth: str, precision: float, recall: float) -> None:
    """The value is the harmonic mean 2·p·r / (p + r) of the precision and the recall above, 0 where both are."""
    wanted = 2 * precision * recall / (precision + recall) if precision else 0.0
    assert _judge(response, truth).value == pytest.approx(wanted, abs=1e-12)


def test_the_best_alias_counts_and_is_named() -> None:
    """Of {cat} with {dog}, 0; with {black, cat}, p = 1, r = 1/2, so 2·(1/2) / (3/2) = 2/3."""
    verdict = _judge("The cat", ["dog", "black cat"])
    assert verdict.value == pytest.approx(2 / 3)
    assert verdict.detail == "best with 'black cat'"
    assert verdict.extracted == "cat"


def test_words_as_they_stand() -> None:
    """Without normalising, 'The' and 'the', 'sat.' and 'sat' differ: one word of three is shared, so 1/3."""
    assert _judge("The cat sat.", "the cat sat", "none").value == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("response", "truth", "value"),
    [
        ("", "", 1),
        (" . ", "", 1),
        ("", "Paris", 0),
        ("Paris", "", 0),
        ("", "!!!", 0),
        ("...", "!!!", 0),
        ("!!!", "!!!", 1),
    ],
)
def test_texts_without_words(response: str, truth: str, value: float) -> None:
    """SQuAD 2.0's no-answer rule, but an empty reply is not the right one where punctuation was asked for."""
    assert _judge(response, truth).value == value


@pytest.mark.parametrize("truth", [None, 7, True, [], ["a", 7], {"a": "b"}, b"a", [10**5000]])
def test_a_ground_truth_of_the_wrong_kind_is_an_error_that_says_so(truth: Any) -> None:
    verdict = _judge("a", truth)
    assert verdict.outcome == "error"
    assert "the ground truth must be a string or a list of strings" in verdict.detail


@given(st.text(), st.text(), st.sampled_from(["none", "squad"]))
def test_any_text_is_scored_alike_both_ways_round(one: str, other: str, normalize: str) -> None:
    assert _judge(one, one, normalize).value == 1.0
    if one.strip() and other.strip():
        assert _judge(one, other, normalize).value == _judge(other, one, normalize).value


@pytest.mark.timeout(20)
def test_long_texts_take_linear_time() -> None:
    for text in ("the " * 250_000, "!" * 1_000_000, "cat " * 250_000, "\x00\ud800" * 100_000, "\u202e" * 500_000):
        verdict = _judge(text, "x")
        assert verdict.value == 0.0
        assert verdict.extracted is not None
        assert len(verdict.extracted.replace("\\ud800", "?")) <= 200


def test_it_can_be_sent_to_a_worker() -> None:
    case = VerificationCase("x", "", "a cat", "the cat")
    assert pickle.loads(pickle.dumps(_verifier())).verify([case]) == _verifier().verify([case])
