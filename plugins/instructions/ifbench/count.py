"""`count:` kinds: how many words, names, numbers, marks."""

from __future__ import annotations

import re

import regex  # type: ignore[import-untyped]

from aftertrain.plugins.instructions.ifbench.characters import EDGES, without_punctuation
from aftertrain.plugins.instructions.ifbench.names import CONJUNCTIONS, PERSON_NAMES, PRONOUNS
from aftertrain.plugins.instructions.kind import keyword, number, of_text, position
from aftertrain.plugins.instructions.resources import words

WORD = regex.compile(r"\w+")
"""NLTK's words: its patterns are of the package `regex`, for which combining marks are parts of words."""
NAME = re.compile(r"\w+")
DIGITS = re.compile(r"\d+")
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
MARKS = frozenset(".,!?;:")
TIMES = (1, 2, 3, 5, 7)
"""How often keyword1 to keyword5 must stand in a reply."""


def conjunctions(text: str, small_n: float) -> bool:
    """At least so many different forms of coordinating conjunctions: `and` and `And,` are two, as in IFBench."""
    return len({word for word in text.split() if word.strip(EDGES).lower() in CONJUNCTIONS}) >= small_n


def keywords_multiple(text: str, **keywords: str) -> bool:
    """The five keywords stand 1, 2, 3, 5 and 7 times in the text, also inside of words, in any case."""
    lower = text.lower()
    times = zip((keywords[f"keyword{place}"] for place in range(1, 6)), TIMES, strict=True)
    return all(lower.count(keyword.lower()) == count for keyword, count in times)


def numbers(text: str, N: float) -> bool:
    """Exactly so many runs of digits, punctuation left out: `1,000.5` is one number and so is `3-4`."""
    return sum(1 for _ in DIGITS.finditer(without_punctuation(text))) == N


def person_names(text: str, N: float) -> bool:
    """At least so many different names of the list, as whole words."""
    return len(PERSON_NAMES.intersection(match.group() for match in NAME.finditer(text))) >= N


def pronouns(text: str, N: float) -> bool:
    """At least so many pronouns, each as often as it stands there; `she/her` is two."""
    return sum(1 for word in words(text.replace("/", " ").lower()) if word in PRONOUNS) >= N


def punctuation(text: str) -> bool:
    """An interrobang (`?!`, `!?` or `‽`), and without it all of `.,!?;:`."""
    if not ("!?" in text or "?!" in text or "‽" in text):
        return False
    rest = text.replace("?!", "", 1) if "?!" in text else text.replace("!?", "", 1)
    return all(mark in rest for mark in MARKS)


def unique_word_count(text: str, N: float) -> bool:
    """At least so many different words, in lower case and stripped; all words of marks alone are one word."""
    return len({word.strip(EDGES) for word in text.lower().split()}) >= N


def word_count_range(text: str, min_words: float, max_words: float) -> bool:
    """So many runs of letters, digits and underscores, the bounds included."""
    return min_words <= sum(1 for _ in WORD.finditer(text)) <= max_words


def words_japanese(text: str, N: int) -> bool:
    """Each N-th word holds a Hiragana, Katakana or Kanji character; marks alone and digits alone pass."""
    stripped = (word.strip(EDGES) for word in text.split()[N - 1 :: N])
    return all(JAPANESE.search(word) for word in stripped if word and not word.isdigit())


KINDS = {
    "count:conjunctions": of_text(conjunctions, {"small_n": number}),
    "count:keywords_multiple": of_text(keywords_multiple, {f"keyword{place}": keyword for place in range(1, 6)}),
    "count:numbers": of_text(numbers, {"N": number}),
    "count:person_names": of_text(person_names, {"N": number}),
    "count:pronouns": of_text(pronouns, {"N": number}, needs=("punkt",)),
    "count:punctuation": of_text(punctuation),
    "count:unique_word_count": of_text(unique_word_count, {"N": number}),
    "count:word_count_range": of_text(word_count_range, {"min_words": number, "max_words": number}),
    "count:words_japanese": of_text(words_japanese, {"N": position}),
}
