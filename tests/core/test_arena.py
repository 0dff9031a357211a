"""Numbers of an arena by hand: signs, position bias, and Bradley-Terry strengths of three players (F50)."""

from __future__ import annotations

import math

import pytest

from aftertrain.core.arena import duel, strengths
from aftertrain.core.preference import Preference

WON, LOST, FIRST, SECOND = Preference(1, 1), Preference(0, 0), Preference(1, 0), Preference(0, 1)


def test_a_duel_by_hand_f50() -> None:
    """Of ten prompts four won, one lost, three follow the first place and one the second, one is half a win; one open.

    S = (5 - 1)/10; with the open one lost (4 - 1)/11, won (4 + 1)/11; sign test of 5 and 1: 2·(1 + 6)/2^6.
    """
    found = duel([WON] * 4 + [LOST] + [FIRST] * 3 + [SECOND] + [Preference(1, 0.5)], unjudged=1)
    assert (found.wins, found.losses, found.ties, found.score.n) == (5, 1, 4, 10)
    assert found.score.mean == pytest.approx(0.4)
    assert found.score.low < 0.4 < found.score.high
    assert (found.lowest, found.highest) == (pytest.approx(3 / 11), pytest.approx(5 / 11))
    assert (found.follows_first, found.follows_second, found.position_bias) == (3, 1, pytest.approx(0.4))
    assert found.p == pytest.approx(14 / 64)


def test_one_that_wins_all_is_not_certain() -> None:
    """Of five wins the interval reaches down to where what five draws may not show would have been lost."""
    found = duel([WON] * 5)
    assert (found.score.mean, found.score.high) == (1.0, 1.0)
    assert found.score.low < 0.1
    with pytest.raises(ValueError, match="at least one preference"):
        duel([])


def test_strengths_of_three_players_by_hand() -> None:
    """A beats B 3 : 1, B beats C 3 : 1, A beats C 9 : 1: odds that agree, so that A - B = B - C = ln 3 exactly."""
    games = [(0, 1, 3, 1), (1, 2, 3, 1), (0, 2, 9, 1)]
    verdicts = [(n, a, b, 1.0) for a, b, won, _ in games for n in range(won)]
    verdicts += [(won + n, a, b, 0.0) for a, b, won, lost in games for n in range(lost)]
    found = strengths(["A", "B", "C"], verdicts, resamples=50)
    assert [found[name].mean for name in "ABC"] == pytest.approx([math.log(3), 0.0, -math.log(3)], abs=2e-3)
    assert found["A"].low < math.log(3) < found["A"].high


def test_ties_are_half_a_win_and_a_winner_of_all_is_finite() -> None:
    even = strengths(["A", "B"], [(n, 0, 1, 0.5) for n in range(4)], resamples=5)
    assert [even[name].mean for name in "AB"] == pytest.approx([0, 0], abs=1e-6)
    rows = [(n, a, b, 1.0) for n in range(40) for a, b in ((0, 1), (1, 2), (0, 2))]
    every = strengths(["A", "B", "C"], rows, resamples=5)
    values = [every[name].mean for name in "ABC"]
    assert values == sorted(values, reverse=True)
    assert all(map(math.isfinite, values))
    with pytest.raises(ValueError, match="at least one verdict"):
        strengths(["A", "B"], [])
