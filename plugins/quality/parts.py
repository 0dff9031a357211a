"""Which part of a row is looked at: all of it, what is asked, or what is replied."""

from __future__ import annotations

from collections.abc import Sequence

from aftertrain.core.operator import Row
from aftertrain.core.records import Document
from aftertrain.plugins.quality.settings import Part

REPLIES = "assistant"


def texts_of(row: Row, part: Part) -> Sequence[str]:
    """The texts of a part: a document is a reply; of a pair both replies are."""
    if part == "all" or isinstance(row.record, Document):
        return () if part == "prompt" else row.texts
    return [turn.content for turn in row.turns if (turn.role == REPLIES) == (part == "reply")]


def text_of(row: Row, part: Part) -> str:
    """The same as one text, an empty line between two."""
    return "\n\n".join(texts_of(row, part))


def share(part: float, whole: float) -> float:
    """`part/whole` to six digits; 0 of nothing.

    >>> share(1, 3), share(0, 0)
    (0.333333, 0.0)
    """
    return round(part / whole, 6) if whole else 0.0
