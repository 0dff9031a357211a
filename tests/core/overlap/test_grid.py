"""F4 by hand: what the score loses without the items that a length and a threshold name."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from aftertrain.core.overlap.grid import THRESHOLDS, grid
from aftertrain.core.overlap.index import EvaluationIndex
from aftertrain.core.overlap.items import Evaluation, Item, TrainingRow
from aftertrain.core.overlap.rules import RULES
from aftertrain.core.overlap.scan import Scan


def test_gain_by_hand() -> None:
    """Two items of six are in the training data as a whole and score 1 and 1; one by half of its 2-grams; the clean
    ones score 1, 0, 0 and that one 0.

    Above 0.5: p = 2/6, gain = 2/6·(1 − 1/4) = 1/4 = mean(all) − mean(clean) = 1/2 − 1/4. The variance of 1, 0, 0, 0 is
    1/4, so that the half interval is 1.96·(2/6)·√(1/4/4) = 1.96/12.
    Above 0: three of six, gain = 1/2·(2/3 − 1/3) = 1/6; variances 1/3 and 1/3 over 3 each: 1.96·(1/2)·√(2/9).
    """
    texts = ["a b c d", "e f g h", "i j k l", "m n o p", "q r s t", "u v w x"]
    scores = dict(zip(map(str, range(6)), (1.0, 1.0, 0.0, 1.0, 0.0, 0.0), strict=True))
    items = [Item(str(place), (text,)) for place, text in enumerate(texts)]
    rule = replace(RULES["tulu3"], n=2)
    scan = Scan(EvaluationIndex([Evaluation("e", items, "")], rule, sizes=(3, 9)))
    list(scan.flagged([TrainingRow("r", "s", ("a b c d", "e f g h", "i j x"), (0, 1, 2))]))
    points = {(point.n, point.threshold): point for point in grid(scan, "e", scores)}
    assert {n for n, _ in points} == {2, 3, 9}
    half = points[2, 0.5]
    assert (half.n_contaminated, half.n_clean, half.score, half.clean) == (2, 4, 0.5, 0.25)
    assert half.gain == pytest.approx(0.25)
    assert (half.low, half.high) == pytest.approx((0.25 - 1.959964 / 12, 0.25 + 1.959964 / 12))
    none = points[2, 0.0]
    assert (none.n_contaminated, none.gain) == (3, pytest.approx(1 / 6))
    assert none.high == pytest.approx(1 / 6 + 1.959964 / 2 * math.sqrt(2 / 9))
    assert points[3, 0.0].n_contaminated == 2  # `i j` is no 3-gram
    assert (points[9, 0.0].n_clean, points[9, 0.0].gain) == (0, None)  # no item is so long
    assert [key for key, point in points.items() if point.chosen] == [(2, 0.5)]
    assert THRESHOLDS == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def test_items_without_a_score_are_left_out() -> None:
    items = [Item(str(place), (text,)) for place, text in enumerate(("a b c d", "e f g h"))]
    scan = Scan(EvaluationIndex([Evaluation("e", items, "")], replace(RULES["tulu3"], n=2)))
    points = grid(scan, "e", {"1": 1.0})
    assert {(point.n_clean, point.n_contaminated, point.gain) for point in points} == {(1, 0, None)}
