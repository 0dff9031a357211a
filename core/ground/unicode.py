"""Unicode's compatibility form of any text in time that grows with its length."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

MARKS = 30
"""Combining marks in a row after which a joiner is put, as Unicode's stream-safe format has it (UAX 15)."""
_JOINER = "\u034f"


def nfkc(text: str) -> str:
    """`text` in NFKC.

    Putting n marks in order takes the standard library n² steps: a row of 200,000 of them would take minutes.

    >>> nfkc("\ufb01ne e\u0301")
    'fine é'
    """
    if unicodedata.is_normalized("NFKC", text):
        return text
    return unicodedata.normalize("NFKC", _long_runs().sub(rf"\g<0>{_JOINER}", text))


@cache
def _long_runs() -> re.Pattern[str]:
    points = [point for point in range(sys.maxunicode + 1) if unicodedata.combining(chr(point))]
    ranges: list[list[int]] = []
    for point in points:
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    marks = "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
    return re.compile(f"[{marks}]{{{MARKS}}}(?=[{marks}])")
