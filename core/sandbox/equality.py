"""When a program's result is the one that was written down as JSON."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

RELATIVE, ABSOLUTE = 1e-6, 1e-9


def same(value: Any, expected: Any) -> bool:
    """Equality of a result with one that was read from JSON: tuples are lists, keys are what JSON makes of them, and
    where a number with a point is expected, one within 1e-6 relative will do (APPS). Whole numbers are exact.

    >>> same((1, 2.0), [1, 2]), same(0.1 + 0.2, 0.3), same(4.0000001, 4), same({1: 5}, {"1": 5})
    (True, True, False, True)
    """
    if isinstance(expected, float):
        return _near(value, expected)
    if isinstance(expected, int):  # True is 1, as in Python
        return isinstance(value, int | float | Decimal | Fraction) and bool(value == expected)
    if isinstance(value, list | tuple) and isinstance(expected, list | tuple):
        return len(value) == len(expected) and all(map(same, value, expected))
    if isinstance(value, dict) and isinstance(expected, dict):
        by_key = _by_json_key(value, expected)
        return by_key is not None and all(same(by_key[key], wanted) for key, wanted in expected.items())
    return type(value) is type(expected) and bool(value == expected)


def _near(value: Any, expected: float) -> bool:
    if not isinstance(value, int | float | Decimal | Fraction):
        return False
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return False
    if math.isnan(expected):
        return math.isnan(number)
    return value == expected or math.isclose(number, expected, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _by_json_key(value: dict[Any, Any], expected: dict[str, Any]) -> dict[str, Any] | None:
    """The values under the expected keys; None where some are missing, there are more, or two keys are one in JSON."""
    by_key: dict[str, Any] = {}
    for key, item in value.items():
        name = next((form for form in _written(key) if form in expected), None)
        if name is None or name in by_key:
            return None
        by_key[name] = item
    return by_key if len(by_key) == len(expected) else None


def _written(key: Any) -> tuple[str, ...]:
    """A key as JSON writes it; else, and for keys that JSON has not, as Python does.

    >>> _written(1), _written(True), _written("1"), _written(None), _written((1, 2))
    (('1',), ('true', 'True'), ('1',), ('null', 'None'), ('(1, 2)',))
    """
    if isinstance(key, str):
        return (key,)
    if isinstance(key, bool) or key is None:
        return ({True: "true", False: "false", None: "null"}[key], str(key))
    return (str(key),)
