"""What a layout puts into a text and takes out of words: list markers, LaTeX spacing, words divided at line ends.

Tools of the field lose their recall when the lines of a text are wrapped anew or its sentences become a list, because
the marks that come with it count as tokens. Each step here takes one kind of mark away. Line ends themselves and quote
signs are no tokens, and need no step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

_ORDINAL = r"[(\[]?(?:\d{1,3}|[^\W\d_]|[ivxlIVXL]{2,5})[.):\]．）、]"
_MARKERS = re.compile(rf"\n[ \t>#*+\-•‣◦·–—|]*(?:{_ORDINAL}[*_]*(?:[ \t]+|(?=\n)))+")
_SPACING = re.compile(
    r"\\(?:[,:;!>]|(?:q?quad|thinspace|enspace|left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|newline"
    r"|[hv]space\*?\{[^{}\n]{0,20}\})(?![a-zA-Z]))"
)
_FRACTION = re.compile(r"\\[dt](?=frac(?![a-zA-Z]))")
_INVISIBLE = re.compile("[\xad\u200b-\u200f\u2060-\u2064\ufeff]+")
_DIVIDED = re.compile(r"-\r?\n[ \t>]*(?=[^\W\d_])")
_LEFT, _RIGHT = re.compile(r"[^\W_]+\Z"), re.compile(r"[^\W_]+")
LONGEST_WORD = 64
"""Characters of half a word that are looked at where a line divides it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of mark.

    Attributes:
        marks: what is taken away, but for its first `keep` characters.
        filler: what stands in its place.
        first: a text without this character has no such mark; "" where nothing is cheaper than looking.
        divides: a word, which is joined only where the evaluation side has it whole.
        beyond: no mark is ASCII.
    """

    name: str
    marks: re.Pattern[str]
    keep: int = 0
    filler: str = ""
    first: str = ""
    divides: bool = False
    beyond: bool = False

    def spans(self, text: str, vocabulary: Collection[str]) -> list[tuple[int, int]]:
        """Characters to be taken away, in order."""
        if self.first not in text or (self.beyond and text.isascii()):
            return []
        found: Iterator[re.Match[str]] = self.marks.finditer(text)
        if self.divides:
            found = filter(_joins(text, vocabulary), found)
        return [(match.start() + self.keep, match.end()) for match in found]


def _joins(text: str, vocabulary: Collection[str]) -> Callable[[re.Match[str]], bool]:
    """Whether both halves make a word that the evaluation side has; `well-` and `known` are two words."""

    def joins(match: re.Match[str]) -> bool:
        left = _LEFT.search(text[max(0, match.start() - LONGEST_WORD) : match.start()])
        right = _RIGHT.match(text, match.end(), match.end() + LONGEST_WORD)
        return left is not None and right is not None and (left[0] + right[0]).casefold() in vocabulary

    return joins


STEPS = (
    Step("invisible characters", _INVISIBLE, beyond=True),
    Step("words divided at line ends", _DIVIDED, first="-", divides=True),
    Step("LaTeX spacing", _SPACING, filler=" ", first="\\"),
    Step("sizes of fractions", _FRACTION, filler="\\", first="\\"),
    Step("list markers", _MARKERS, keep=1, first="\n"),
)


def without(text: str, steps: Sequence[Step], vocabulary: Collection[str]) -> str:
    """`text`, which begins with a line end, without these marks."""
    for step in steps:
        spans = step.spans(text, vocabulary)
        if spans:
            text = _cut(text, spans, step.filler)
    return text


def mapped(text: str, steps: Sequence[Step], vocabulary: Collection[str]) -> tuple[str, list[int]]:
    """The same, with the place in `text` of each character that is left."""
    places = list(range(len(text)))
    for step in steps:
        spans = step.spans(text, vocabulary)
        left, at = list[int](), 0
        for start, end in spans:
            left += places[at:start]
            left += [places[start]] * len(step.filler)
            at = end
        places = left + places[at:]
        text = _cut(text, spans, step.filler)
    return text, places


def _cut(text: str, spans: Sequence[tuple[int, int]], filler: str) -> str:
    parts, at = list[str](), 0
    for start, end in spans:
        parts += (text[at:start], filler)
        at = end
    return "".join((*parts, text[at:]))
