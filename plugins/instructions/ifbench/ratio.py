"""`ratio:` kinds: shares of words, sentences and trigrams."""

from __future__ import annotations

from collections import Counter

from aftertrain.plugins.instructions.ifbench.count import WORD
from aftertrain.plugins.instructions.ifbench.kind import Kind, number, text
from aftertrain.plugins.instructions.resources import sentences, stopwords

TOLERANCE = 2
"""Percentage points."""


def overlap(text: str, reference_text: str, percentage: float) -> bool:
    """Of the text's different character trigrams, so many percent (±2) stand in the reference."""
    found = _trigrams(text)
    if not found:
        return False
    share = len(found & _trigrams(reference_text)) / len(found)
    return percentage - TOLERANCE <= share * 100 <= percentage + TOLERANCE


def sentence_balance(text: str) -> bool:
    """As many sentences end in `.` as in `?` as in `!`; no such sentence at all is balanced too."""
    declarative, interrogative, exclamatory = _endings(text)
    return declarative == interrogative == exclamatory


def sentence_type(text: str) -> bool:
    """Twice as many sentences end in `.` as in `?`; none of both will do."""
    declarative, interrogative, _ = _endings(text)
    return declarative == 2 * interrogative


def sentence_words(text: str) -> bool:
    """Three sentences of equally many characters. IFBench does not check that their words differ."""
    found = sentences(text)
    return len(found) == 3 and len({len(sentence.strip()) for sentence in found}) == 1


def stop_words(text: str, percentage: float) -> bool:
    """At most so many percent of the words are English stop words (NLTK's list)."""
    total = stop = 0
    known = stopwords()
    for match in WORD.finditer(text):
        total += 1
        stop += match.group().lower() in known
    return total > 0 and stop / total * 100 <= percentage


def _endings(text: str) -> tuple[int, int, int]:
    """How many sentences end in `.`, `?` and `!`."""
    last = Counter(sentence[-1:] for sentence in sentences(text))
    return last["."], last["?"], last["!"]


def _trigrams(text: str) -> set[str]:
    return {text[start : start + 3] for start in range(len(text) - 2)}


KINDS = {
    "ratio:overlap": Kind(overlap, {"reference_text": text, "percentage": number}),
    "ratio:sentence_balance": Kind(sentence_balance, needs=("punkt",)),
    "ratio:sentence_type": Kind(sentence_type, needs=("punkt",)),
    "ratio:sentence_words": Kind(sentence_words, needs=("punkt",)),
    "ratio:stop_words": Kind(stop_words, {"percentage": number}, needs=("stopwords",)),
}
