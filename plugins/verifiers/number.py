r"""Plain numbers: whole numbers, decimals and fractions of whole numbers, compared by value without any library.

Most wrong answers and many right ones are plain numbers; Math-Verify takes milliseconds for them. Only what provably
gets the same verdict there is decided here (tests compare the two): decimals have at most six places and eight digits
before the point, where rounding to six places changes nothing, and are not compared with proper fractions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_WHOLE = r"(?:0|[1-9][0-9]{0,99})"
_PLAIN = re.compile(
    rf"(?P<sign>-?)(?:(?P<whole>{_WHOLE})|(?P<decimal>(?:0|[1-9][0-9]{{0,7}})\.[0-9]{{1,6}})"
    rf"|\\frac\{{(?P<above>{_WHOLE})\}}\{{(?P<below>[1-9][0-9]{{0,99}})\}}"
    rf"|(?P<number>{_WHOLE})/(?P<divisor>[1-9][0-9]{{0,99}}))"
)
_LONG = 10**8
"""Whole numbers from here on are not compared with decimals, which hold fifteen digits."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A plain number's value and whether it was written as a decimal."""

    value: Fraction
    decimal: bool


def plain(text: str) -> Plain | None:
    r"""The number that `text` writes plainly, or None.

    >>> plain("-0.50"), plain("\\frac{3}{6}"), plain("2x")
    (Plain(value=Fraction(-1, 2), decimal=True), Plain(value=Fraction(1, 2), decimal=False), None)
    """
    number = _PLAIN.fullmatch(text.strip(" "))
    if number is None:
        return None
    sign = -1 if number["sign"] else 1
    if number["decimal"]:
        return Plain(sign * Fraction(number["decimal"]), True)
    above = number["whole"] or number["above"] or number["number"]
    return Plain(sign * Fraction(int(above), int(number["below"] or number["divisor"] or 1)), False)


def equal(first: str, second: str) -> bool | None:
    """Whether two plain numbers have one value; None where one is not plain or their comparison needs rounding."""
    a, b = plain(first), plain(second)
    if a is None or b is None:
        return None
    for short, other in ((a, b), (b, a)):
        if short.decimal and not other.decimal and (other.value.denominator > 1 or abs(other.value) >= _LONG):
            return None
    return a.value == b.value
