"""Words by which texts are compared: runs of letters or digits after NFKC and case folding."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The words of a text.

    >>> words("It's 3.5 – Straße, ﬁne")
    ['it', 's', '3', '5', 'strasse', 'fine']
    """
    return _WORD.findall(text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold())
