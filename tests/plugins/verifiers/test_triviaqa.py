"""The triviaqa verifier: exact and contained aliases, blank ones, wrong ground truths, hostile text (F32)."""

from __future__ import annotations

import doctest
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.plugins.verifiers import triviaqa
from aftertrain.plugins.verifiers.settings import TriviaQASettings


def _verifier(match: str = "exact") -> triviaqa.TriviaQA:
    return triviaqa.TriviaQA(TriviaQASettings.model_validate({"match": match}), builder=None)  # type: ignore[arg-type]


def _judge(response: str, truth: Any, match: str = "exact") -> Verdict:
    (verdict,) = _verifier(match).verify([VerificationCase("x", "", response, truth)])
    return verdict


def test_the_worked_example_holds() -> None:
    assert doctest.testmod(triviaqa).failed == 0


@pytest.mark.parametrize(
    ("response", "truth", "exact", "contains"),
    [
        # normalised, both are 'beatles'; as it is, 'Beatles' stands in the reply
        ("The  Beatles!", ["Fab Four", "Beatles"], 1, 1),
        ("It was the Fab Four.", ["Fab Four", "Beatles"], 0, 1),
        ("Rolling Stones", ["Fab Four", "Beatles"], 0, 0),
        # lower('Politician') is held, and so is capitalise('politician')
        ("a politician of note", "Politician", 0, 1),
        ("Politician of note", "politician", 0, 1),
        # upper case is none of the three forms; capitalise('jazz Music') is 'Jazz music'
        ("POLITICIAN", "politician", 1, 0),
        ("Jazz music", "jazz Music", 1, 1),
        ("JAZZ music, say", "jazz Music", 0, 0),
        # PopQA's rule looks at letters, not at words
        ("theatre", "heat", 0, 1),
        ("", "Paris", 0, 0),
    ],
)
def test_matches_worked_by_hand(response: str, truth: Any, exact: int, contains: int) -> None:
    assert [_judge(response, truth).value, _judge(response, truth, "contains").value] == [exact, contains]


def test_the_verdict_names_the_alias() -> None:
    assert _judge("fab four", ["Beatles", "The Fab Four"]).detail == "exact, 'The Fab Four'"
    verdict = _judge("the fab four", ["Beatles", "Fab Four"], "contains")
    assert (verdict.extracted, verdict.detail) == ("fab four", "contains, 'Fab Four'")
    assert _judge("x", "y").detail == "exact, no alias matches"


def test_what_is_all_punctuation_is_not_matched_by_nothing() -> None:
    """SQuAD's rule makes '!!!', 'The' and '' the same text; a reply of nothing must not be right."""
    assert [_judge(reply, "!!!").value for reply in ("", "...", "The", "!!!")] == [0, 0, 0, 1]


@pytest.mark.parametrize("match", ["exact", "contains"])
def test_blank_aliases_match_nothing(match: str) -> None:
    assert [_judge(reply, ["", " ", "Paris"], match).value for reply in ("", "Rome", "Paris")] == [0, 0, 1]
    assert _judge("Rome", ["", " "], match).outcome == "error"


@pytest.mark.parametrize("truth", [None, 7, True, "", [], ["a", 7], {"aliases": ["a"]}, b"a", [10**5000]])
def test_a_ground_truth_of_the_wrong_kind_is_an_error_that_says_so(truth: Any) -> None:
    verdict = _judge("a", truth)
    assert verdict.outcome == "error"
    assert "the ground truth must be a string or a list of strings" in verdict.detail


@given(st.text(), st.sampled_from(["exact", "contains"]))
def test_any_text_equals_itself(text: str, match: str) -> None:
    assert _judge(text, "Paris", match).outcome == "scored"
    if text.strip():
        assert _judge(text, text, match).value == 1.0


@pytest.mark.timeout(20)
@pytest.mark.parametrize("match", ["exact", "contains"])
def test_long_texts_take_linear_time(match: str) -> None:
    needles = ["a" * 50_000 + "b", "x"]
    for text in ("the " * 250_000, "!" * 1_000_000, "a" * 1_000_000, "\x00\ud800" * 100_000):
        verdict = _judge(text, needles, match)
        assert verdict.value == 0.0
        assert verdict.extracted is not None
        assert len(verdict.extracted.replace("\\ud800", "?")) <= 200


def test_it_can_be_sent_to_a_worker() -> None:
    case = VerificationCase("x", "", "a cat", "the cat")
    assert pickle.loads(pickle.dumps(_verifier())).verify([case]) == _verifier().verify([case])
