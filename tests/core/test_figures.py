"""Figures of a task, by hand."""

from __future__ import annotations

import math

import pytest

from aftertrain.core.eval_task import InstanceScore
from aftertrain.core.figures import UNKNOWN, best_of, grouped, majority, mean, pass_at, ratio, share_of
from aftertrain.core.statistics import Weights, mean_interval, wilson


def replies(*rows: tuple[str | None, float]) -> list[InstanceScore]:
    return [InstanceScore({"right": right}, extracted) for extracted, right in rows]


SIX = replies(("4", 1.0), ("5", 0.0), ("5", 0.0), (None, 0.0), ("4", 1.0), ("4", 1.0))


def test_the_mean_of_replies_is_one_value() -> None:
    assert mean("right").value(SIX) == 0.5
    assert mean("right").name == "right"


def test_pass_at_k_is_unbiased() -> None:
    """3 of 6 right; of the 15 pairs, 3 hold no right one."""
    assert pass_at("right", 2).value(SIX) == pytest.approx(12 / 15)
    assert pass_at("right", 2).name == "pass@2"


def test_the_majority_of_the_first_k() -> None:
    """Of five replies "4" and "5" have two votes each; of six "4" has three; of three "5" has two."""
    assert majority("right", 5).value(SIX) == 0.5
    assert majority("right", 6).value(SIX) == 1.0
    assert majority("right", 3).value(SIX) == 0.0
    assert majority("right", 1).value(replies((None, 0.0))) == 0.0


def test_votes_of_unknown_replies_bound_what_they_could_be() -> None:
    """Beside one right and one wrong vote two unknown ones decide; beside three right ones they decide nothing."""
    known = replies(("4", 1.0), ("5", 0.0))
    for right in (0.0, 1.0):
        assert majority("right", 4).value([*known, *replies((UNKNOWN, right), (UNKNOWN, right))]) == right
        assert majority("right", 2).value(replies((UNKNOWN, right), (UNKNOWN, right))) == right
        assert majority("right", 5).value([*replies(*[("4", 1.0)] * 3), *replies(*[(UNKNOWN, right)] * 2)]) == 1.0
    assert majority("right", 4).value(replies(("4", 1.0), ("5", 0.0), ("5", 0.0), (UNKNOWN, 1.0))) == 0.5


def test_the_best_of_the_first_k() -> None:
    assert best_of("right", 1).value(SIX[1:]) == 0.0
    assert best_of("right", 3).value(SIX[1:]) == 0.0
    assert best_of("right", 4).value(SIX[1:]) == 1.0


def test_a_ratio_weighs_by_what_it_divides_by() -> None:
    """8 bits over 4 bytes, 6 over 2: 14 / 6 = (4 × 2 + 2 × 3) / 6."""
    figure = ratio("bits_per_byte", "bits", "bytes", shown=math.exp)
    texts = [[InstanceScore({"bits": 8.0, "bytes": 4.0})], [InstanceScore({"bits": 6.0, "bytes": 2.0})]]
    assert [figure.value(text) for text in texts] == [2.0, 3.0]
    assert figure.weight is not None
    assert [figure.weight(text) for text in texts] == [4.0, 2.0]


def test_a_question_over_which_nothing_is_divided_weighs_nothing() -> None:
    figure = ratio("share", "right", "parts")
    nothing = [InstanceScore({"right": 0.0, "parts": 0.0})]
    assert figure.weight is not None
    assert (figure.value(nothing), figure.weight(nothing)) == (0.0, 0.0)


def test_groups_are_named() -> None:
    assert (grouped(mean("acc")).name, grouped(mean("acc")).grouped) == ("acc (macro)", True)
    with pytest.raises(ValueError, match="'share' weighs its questions and cannot be a mean over groups"):
        grouped(ratio("share", "right", "parts"))


def test_a_share_of_some_questions_is_of_these_alone() -> None:
    """Of three safe prompts one is refused; that of the unsafe one weighs nothing: Wilson's interval of 1 of 3."""
    figure = share_of("refusal_of_safe", "refused", "safe")
    rows = ((1.0, True), (0.0, True), (0.0, True), (1.0, False))
    scores = [[InstanceScore({"refused": refused}, parts={"safe": safe})] for refused, safe in rows]
    assert figure.weight is not None
    weights = Weights.of_sizes([figure.weight(row) for row in scores])
    assert mean_interval([figure.value(row) for row in scores], weights) == wilson(1, 3)
