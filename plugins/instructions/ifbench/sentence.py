"""`sentence:` kinds: what each sentence holds."""

from __future__ import annotations

import re
from itertools import pairwise

from aftertrain.plugins.instructions.ifbench.characters import EDGES, without_punctuation
from aftertrain.plugins.instructions.kind import number, of_text, position, text
from aftertrain.plugins.instructions.resources import sentences


def alliteration_increment(text: str) -> bool:
    """Each sentence has more words in runs of equal first letters than the one before."""
    return all(first < second for first, second in pairwise(_alliterative(sentence) for sentence in sentences(text)))


def increment(text: str, small_n: float) -> bool:
    """Each sentence has exactly so many more words than the one before; words of marks alone do not count."""
    lengths = (len(without_punctuation(sentence).split()) for sentence in sentences(text))
    return all(second == first + small_n for first, second in pairwise(lengths))


def keyword(text: str, word: str, N: int) -> bool:
    """The N-th sentence holds the word, as a whole word in any case."""
    parts = sentences(text)
    return len(parts) >= N and re.search(rf"\b{re.escape(word)}\b", parts[N - 1], re.IGNORECASE) is not None


def _alliterative(sentence: str) -> int:
    """How many words stand in runs of two or more that begin alike, marks before a word left out."""
    words = (word.lstrip(EDGES) for word in sentence.lower().split())
    count, before = 0, False
    for first, second in pairwise(word[0] for word in words if word):
        count += 0 if first != second else 1 if before else 2
        before = first == second
    return count


KINDS = {
    "sentence:alliteration_increment": of_text(alliteration_increment, needs=("punkt",)),
    "sentence:increment": of_text(increment, {"small_n": number}, needs=("punkt",)),
    "sentence:keyword": of_text(keyword, {"word": text, "N": position}, needs=("punkt",)),
}
