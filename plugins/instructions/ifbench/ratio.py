"""`ratio:` kinds: shares of words, sentences and trigrams."""

from __future__ import annotations

from collections import Counter

from aftertrain.plugins.instructions.ifbench.count import WORD
from aftertrain.plugins.instructions.kind import number, of_text, text
from aftertrain.plugins.instructions.resources import sentences, stopwords

TOLERANCE = 2
"""Percentage points."""


def overlap(text: str, reference_text: str, percentage: float) -> bool:
    """Of the text's different character trigrams, so many percent (±2) stand in the reference."""
    trigrams = _trigrams(text)
    if not trigrams:
        return False
    share = len(trigrams & _trigrams(reference_text)) / len(trigrams)
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
    lengths = [len(sentence.strip()) for sentence in sentences(text)]
    return len(lengths) == 3 and len(set(lengths)) == 1


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
    "ratio:overlap": of_text(overlap, {"reference_text": text, "percentage": number}),
    "ratio:sentence_balance": of_text(sentence_balance, needs=("punkt",)),
    "ratio:sentence_type": of_text(sentence_type, needs=("punkt",)),
    "ratio:sentence_words": of_text(sentence_words, needs=("punkt",)),
    "ratio:stop_words": of_text(stop_words, {"percentage": number}, needs=("stopwords",)),
}
