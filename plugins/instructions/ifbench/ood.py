"""The four kinds of Tulu 3's IFEval-OOD that IFBench has not: countries, an edit distance, French words, camel case.

Their checkers were never published where they could be compared with. The rules here are ours and are written down in
docs/verifiers/ifbench.md; ids and arguments follow IFBench's manner.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache, lru_cache
from importlib.resources import files

from aftertrain.plugins.instructions.ifbench.characters import EDGES
from aftertrain.plugins.instructions.ifbench.countries import COUNTRIES
from aftertrain.plugins.instructions.kind import number, of_text, position, whole
from aftertrain.plugins.instructions.kind import text as text_of

COUNTRY = re.compile(
    r"(?<!\w)(?=[A-Z])(?:" + "|".join(map(re.escape, sorted(COUNTRIES, key=len, reverse=True))) + r")(?!\w)"
)
CAMEL = re.compile(r"[a-z][a-z0-9]*(?:[A-Z][a-z0-9]*)+")
LONGEST_GRAM = 3
LONGEST_WORD = 64
"""Letters of a word that are looked at."""
UNSEEN = 0.5 / 10_000
"""Added to each n-gram's share, as langdetect does."""


def countries(text: str, N: float) -> bool:
    """At least so many different countries, by their English names as whole words in the usual case."""
    return len({COUNTRIES[match.group()] for match in COUNTRY.finditer(text)}) >= N


def levenshtein(text: str, reference_text: str, N: int) -> bool:
    """At most so many insertions, deletions and replacements of characters lead from the text to the reference."""
    if abs(len(text) - len(reference_text)) > N:
        return False
    return edit_distance(reference_text, text) <= N


def words_french(text: str, N: int) -> bool:
    """Each N-th word is rather French than English; marks alone and digits alone pass."""
    stripped = (word.strip(EDGES) for word in text.split()[N - 1 :: N])
    return all(is_french(word[:LONGEST_WORD].lower()) for word in stripped if word and not word.isdigit())


def camel_case(text: str) -> bool:
    """Each word, marks around it aside, is written likeThis: small first letter, ASCII, at least one inner capital."""
    stripped = [word.strip(EDGES) for word in text.split()]
    return any(stripped) and all(CAMEL.fullmatch(word) for word in stripped if word)


def edit_distance(first: str, second: str) -> int:
    """Levenshtein's distance, all rows of a column in one integer's bits (Myers 1999, Hyyro 2003).

    Takes time proportional to the length of `second` times that of `first` in machine words.

    >>> edit_distance("kitten", "sitting")
    3
    """
    if not first:
        return len(second)
    places: dict[str, int] = {}
    for place, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << place
    all_rows, last_row = (1 << len(first)) - 1, 1 << len(first) - 1
    more, less, distance = all_rows, 0, len(first)
    for character in second:
        equal = places.get(character, 0)
        diagonal = (((equal & more) + more) ^ more) | equal | less
        right_more, right_less = less | ~(diagonal | more) & all_rows, diagonal & more
        distance += bool(right_more & last_row) - bool(right_less & last_row)
        right_more, right_less = (right_more << 1 | 1) & all_rows, right_less << 1 & all_rows
        more, less = right_less | ~(diagonal | right_more) & all_rows, right_more & diagonal
    return distance


@lru_cache(10_000)
def is_french(word: str) -> bool:
    """Whether a word in lower case is rather French than English: naive Bayes over langdetect's n-gram counts.

    langdetect itself draws n-grams at random; here all of them are used.

    >>> is_french("maison"), is_french("house")
    (True, False)
    """
    padded = f" {word} "
    score = 0.0
    for size in range(1, LONGEST_GRAM + 1):
        for start in range(len(padded) - size + 1):
            gram = padded[start : start + size]
            score += _log_share("fr", gram) - _log_share("en", gram) if gram.strip() else 0.0
    return score > 0


def _log_share(language: str, gram: str) -> float:
    counts, totals = _profile(language)
    return math.log(counts.get(gram, 0) / totals[len(gram) - 1] + UNSEEN)


@cache
def _profile(language: str) -> tuple[dict[str, int], list[int]]:
    """How often each n-gram stands in langdetect's texts of a language, and how many n-grams of each size there are."""
    profile = json.loads((files("langdetect") / "profiles" / language).read_text(encoding="utf-8"))
    return profile["freq"], profile["n_words"]


KINDS = {
    "count:countries": of_text(countries, {"N": number}),
    "count:levenshtein": of_text(levenshtein, {"reference_text": text_of, "N": whole}),
    "count:words_french": of_text(words_french, {"N": position}, needs=("langdetect",)),
    "format:camel_case": of_text(camel_case),
}
