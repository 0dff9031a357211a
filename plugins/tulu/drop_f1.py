"""DROP's official score of a reply against answers of several spans (Dua et al. 2019, `drop_eval.py`)."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def best(reply: str, answers: Sequence[Sequence[str]]) -> tuple[float, float]:
    """F-measure and exact match of a reply, which is one span, each the best over several annotators' answers."""
    said = normalised(reply)
    words = set(said.split())
    scores = [_score(said, words, [normalised(span) for span in answer]) for answer in answers]
    return max(f1 for f1, _ in scores), max(exact for _, exact in scores)


def _score(said: str, words: set[str], spans: Sequence[str]) -> tuple[float, float]:
    """One span is matched with the answer's that it fits best; the others count as missed.

    The official script aligns spans one to one for the highest sum; of one span that is a maximum. It rounds to two
    places.
    """
    fits = max(overlap(words, set(span.split())) for span in spans)
    return round(100 * fits / len(spans)) / 100, float([said] == list(spans))


def overlap(words: set[str], wanted: set[str]) -> float:
    """F-measure of two bags of words; 0 where the answer has numbers and the reply none of them.

    >>> overlap({"3", "dogs"}, {"3"}), overlap({"2", "dogs"}, {"3", "dogs"})
    (0.6666666666666666, 0.0)
    """
    numbers = {word for word in wanted if is_number(word)}
    if numbers and not numbers & words:
        return 0.0
    shared = len(words & wanted)
    precision = shared / len(words) if words else 1.0
    recall = shared / len(wanted) if wanted else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def normalised(text: str) -> str:
    """Words in lower case without articles and punctuation, hyphenated ones apart, numbers as decimals.

    >>> normalised("The 3-yard run, 1.50 seconds")
    '3.0 yard run 1.5 seconds'
    """
    return " ".join(filter(None, (_word(word) for word in re.split("[ -]", text.lower()))))


def _word(word: str) -> str:
    word = word if is_number(word) else word.translate(_PUNCTUATION)
    word = str(float(word)) if is_number(word) else word
    return " ".join(_ARTICLES.sub(" ", word).split())


def is_number(text: str) -> bool:
    """Whether Python reads it as one, "inf" and "1_0" included."""
    try:
        float(text)
    except ValueError:
        return False
    return True
