"""Tokens by which texts are compared: maximal runs of letters or digits, after NFKC and case folding.

In scripts that put no spaces between words each character is a token. This is the rule as it stands; `blocks` applies
it to whole blocks of text at once and must agree with it, token by token.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from aftertrain.core.ground.unicode import nfkc

# Without spaces between words: Thai, Lao; Tibetan, Myanmar; Khmer; Tai Le, New Tai Lue; Tai Tham; ideographic marks and
# numbers; kana and bopomofo; kana extensions; Han; Yi; Myanmar extended; Tai Viet; compatibility Han; kana supplement;
# Han of the other planes.
UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x0F00, 0x109F),
    (0x1780, 0x17FF),
    (0x1950, 0x19DF),
    (0x1A20, 0x1AAF),
    (0x3005, 0x3007),
    (0x3021, 0x312F),
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA000, 0xA4CF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAADF),
    (0xF900, 0xFAFF),
    (0x1B000, 0x1B16F),
    (0x20000, 0x3FFFF),
)
"""Ranges of code points, both ends included, of which each letter is a token."""
_UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED)
_TOKEN = re.compile(rf"[^\W_{_UNSPACED}]+|(?!_)[{_UNSPACED}]")
_PIECE = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Token:
    """A token and the characters that it stands on, in the text as it was written.

    Attributes:
        start: first character, from 0; `end` is past the last.
    """

    word: str
    start: int
    end: int


def folded(text: str) -> str:
    """`text` in the form in which letters are compared."""
    return text.lower() if text.isascii() else nfkc(text).casefold()


def tokens(text: str) -> list[str]:
    """The tokens of a text.

    >>> tokens("It's 3,5 — Straße, ﬁne_x")
    ['it', 's', '3', '5', 'strasse', 'fine', 'x']
    >>> tokens("読む book2 ไทย")
    ['読', 'む', 'book2', 'ไ', 'ท', 'ย']
    """
    return words(folded(text))


def words(text: str) -> list[str]:
    """The tokens of a folded text."""
    return [word for word in _TOKEN.findall(text) if word.isalnum()]


def placed(text: str) -> list[Token]:
    """The tokens of a text, each with its place in it."""
    if text.isascii():
        return [Token(match[0], *match.span()) for match in _TOKEN.finditer(text.lower())]
    return [token for piece in _PIECE.finditer(text) for token in _in_piece(piece[0], piece.start())]


def _in_piece(piece: str, start: int) -> Iterator[Token]:
    """White space neither composes nor folds, so that what stands between it is folded by itself."""
    whole = folded(piece)
    parts = [folded(char) for char in piece]
    lengths = [1] * len(piece)
    if "".join(parts) != whole:
        clusters = list(_clusters(piece))
        parts, lengths = [folded(cluster) for cluster in clusters], [len(cluster) for cluster in clusters]
    ends = list(accumulate(lengths))
    first = [start + end - length for part, end, length in zip(parts, ends, lengths, strict=True) for _ in part]
    past = [start + end for part, end in zip(parts, ends, strict=True) for _ in part]
    for match in _TOKEN.finditer(whole):
        if match[0].isalnum():
            yield Token(match[0], first[match.start()], past[match.end() - 1])


def _clusters(piece: str) -> Iterator[str]:
    """Characters that compose or change places, together; each cluster is folded by itself."""
    cluster = ""
    for char in piece:
        own = nfkc(char)
        if cluster and not unicodedata.combining(own[0]) and _apart(cluster, char, own):
            yield cluster
            cluster = ""
        cluster += char
    yield cluster


def _apart(cluster: str, char: str, own: str) -> bool:
    return nfkc(cluster + char) == nfkc(cluster) + own
