"""How much of two runs differs, for what further questions would find."""

from __future__ import annotations

import pytest

from aftertrain.api.comparison import detects, discordance
from aftertrain.core.events import Difference
from aftertrain.core.statistics import Z95, detectable


def difference(mean: float, error: float, *, better: int, worse: int, n: int = 400) -> Difference:
    low, high = mean - Z95 * error, mean + Z95 * error
    return Difference("t", "m", 0.0, "a", mean, low, high, n, better=better, worse=worse)


def test_flips_of_right_and_wrong_are_counted() -> None:
    row = difference((60 - 20) / 400, 0.02, better=60, worse=20)
    assert discordance(row) == pytest.approx(0.2)
    assert detects(row) == detectable(400, 0.2)


def test_small_changes_of_every_pair_are_no_flips() -> None:
    """All 400 values changed, by 0.02 on average with a spread of 0.1: as 1.04 % of whole flips, not all of them."""
    row = difference(0.02, 0.1 / 20, better=240, worse=160)
    assert discordance(row) == pytest.approx(0.1**2 + 0.02**2)
    assert detects(row) == pytest.approx((1.959964 + 0.841621) * 0.1 / 20, rel=1e-5)
