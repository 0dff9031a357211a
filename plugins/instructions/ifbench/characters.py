"""Characters that several kinds leave out or fold, in time linear in the text."""

from __future__ import annotations

import string
import unicodedata

PUNCTUATION = string.punctuation
EDGES = PUNCTUATION + " "
"""What is stripped from words. Only ASCII: curly quotes and dashes stay."""
_NOTHING = str.maketrans("", "", PUNCTUATION)


class _Folded(dict[int, str]):
    """A character's ASCII letters after compatibility decomposition (NFKD), found when first asked for."""

    def __missing__(self, code: int) -> str:
        letters = unicodedata.normalize("NFKD", chr(code)).encode("ascii", "ignore").decode("ascii")
        self[code] = letters
        return letters


_FOLDED = _Folded()


def without_punctuation(text: str) -> str:
    """The text without ASCII punctuation marks.

    >>> without_punctuation("well-known, isn't it?")
    'wellknown isnt it'
    """
    return text.translate(_NOTHING)


def ascii_letters(text: str) -> str:
    """The text without accents and other marks, and without what has no ASCII form.

    One character at a time: NFKD of a whole text orders its marks in time quadratic in the length of a run of them,
    and marks are left out anyway.

    >>> ascii_letters("São Tomé €")
    'Sao Tome '
    """
    return text.translate(_FOLDED)
