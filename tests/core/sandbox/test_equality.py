"""When a result is the one that was written as JSON, by hand-worked pairs."""

from __future__ import annotations

import doctest
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from aftertrain.core.sandbox import equality
from aftertrain.core.sandbox.equality import same


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(equality).failed == 0


@pytest.mark.parametrize(
    ("value", "expected", "equal"),
    [
        ({1: 5, "1": 5}, {"1": 5, "2": 7}, False),
        ({1: 5, "1": 5}, {"1": 5}, False),
        ({1: 5, "1": 7}, {"1": 5}, False),
        ({1: 5, 2: 7}, {"1": 5, "2": 7}, True),
        ({2: 5, 1: 7}, {"1": 5, "2": 7}, False),
        ({True: 1, None: 2}, {"true": 1, "null": 2}, True),
        ({True: 1, "true": 1}, {"true": 1, "True": 1}, False),
        ({1.5: 1}, {"1.5": 1}, True),
        ({1.0: 1}, {"1": 1}, False),
        ({(1, 2): 3}, {"(1, 2)": 3}, True),
        ({"a": [1, (2,)]}, {"a": [1, [2]]}, True),
        ({}, {"a": 1}, False),
        ({"a": 1}, {}, False),
        (4.0, 4, True),
        (4.0000001, 4, False),
        (1_000_000_500.0, 1_000_000_000, False),
        ([1.0000001], [1], False),
        (2**53 + 1, 2**53, False),
        (4, 4.0, True),
        (0.1 + 0.2, 0.3, True),
        (0.3001, 0.3, False),
        (Decimal("0.3"), 0.3, True),
        (Fraction(1, 2), 0.5, True),
        (Fraction(4), 4, True),
        (10**400, 1.5, False),
        (float("nan"), float("nan"), True),
        (float("nan"), 0.0, False),
        (float("inf"), float("inf"), True),
        (True, 1, True),
        ("1", 1, False),
        (1, "1", False),
        (None, None, True),
        (None, 0, False),
        ([1, 2], (1, 2), True),
        ({1, 2}, [1, 2], False),
    ],
)
def test_results_and_what_was_expected(value: Any, expected: Any, equal: bool) -> None:
    assert same(value, expected) is equal
