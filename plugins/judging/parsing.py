"""From a judge's reply to a value in [0, 1]: a pattern's group, then a table of labels or a scale of numbers.

Only what the judge wrote is looked at, never the text it was asked about. A pattern is refused that could take time
exponential in the reply, since it is matched in this process.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Literal

LOOKED_AT = 4_000
"""Characters of a reply that are searched: its end for the last match, its beginning for the first."""
Which = Literal["first", "last"]


def check(pattern: str) -> None:
    """Refuse a pattern that cannot be used.

    Raises:
        ValueError: it is none, has no group, or repeats what is repeated itself or has alternatives.
    """
    try:
        compiled = re.compile(pattern)
        tree = _parser.parse(pattern)
    except re.error as error:
        where = f" at position {error.pos}" if error.pos is not None else ""
        raise ValueError(f"not a regular expression: {error.msg}{where}") from None
    except (OverflowError, RecursionError) as error:
        raise ValueError(f"not a pattern to rely on: {error}") from None
    if compiled.groups == 0:
        raise ValueError("the pattern has no group: put ( ) around the judgement")
    if _explosive(tree, repeated=False):
        raise ValueError(
            "the pattern repeats something that holds a repeat or alternatives, as in (a+)+ or (ab|a)*, which may take "
            "for ever; name what may stand between instead, as in [a-z ]*"
        )


def find(pattern: str, reply: str, which: Which) -> str | None:
    """The first group's text of the first or last match, letter case aside; None where there is no match."""
    part = reply[:LOOKED_AT] if which == "first" else reply[-LOOKED_AT:]
    last = None
    for match in re.finditer(pattern, part, re.IGNORECASE):
        last = match
        if which == "first":
            break
    return None if last is None or last[1] is None else last[1].strip()


def value_of(text: str, labels: Mapping[str, float] | None, scale: tuple[float, float] | None) -> float | None:
    """A judgement's value; None for a label that is not in the table, or a number off the scale.

    >>> value_of("Yes", {"yes": 1.0, "no": 0.0}, None), value_of("7", None, (1.0, 10.0)), value_of("11", None, (1, 10))
    (1.0, 0.6666666666666666, None)
    """
    if labels is not None:
        table = {_folded(label): value for label, value in labels.items()}
        return table.get(_folded(text))
    assert scale is not None
    low, high = scale
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number) or not low <= number <= high:
        return None
    return (number - low) / (high - low)


def _folded(label: str) -> str:
    return " ".join(label.casefold().split())


def _explosive(tree: Sequence[tuple[Any, Any]], *, repeated: bool) -> bool:
    """Whether a repeat holds a repeat of no fixed number, or alternatives."""
    for kind, what in tree:
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            least, most, inner = what
            explosive = (repeated and least != most) or _explosive(inner, repeated=repeated or most > 1)
        else:
            explosive = (repeated and kind is op.BRANCH) or any(
                _explosive(inner, repeated=repeated) for inner in _inside(kind, what)
            )
        if explosive:
            return True
    return False


def _inside(kind: Any, what: Any) -> Sequence[Any]:
    """The parts of a pattern that a construct holds."""
    if kind is op.SUBPATTERN:
        return [what[-1]]
    if kind is op.BRANCH:
        return list(what[1])
    if kind in (op.ASSERT, op.ASSERT_NOT):
        return [what[1]]
    if kind is op.ATOMIC_GROUP:
        return [what]
    if kind is op.GROUPREF_EXISTS:
        return [part for part in what[1:] if part is not None]
    return []
