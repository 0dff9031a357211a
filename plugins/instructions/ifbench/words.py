"""`words:` kinds: the letters, lengths and places of words."""

from __future__ import annotations

import re
import string
from collections import Counter
from itertools import pairwise

from aftertrain.plugins.instructions.ifbench import tagger
from aftertrain.plugins.instructions.ifbench.characters import EDGES, PUNCTUATION, without_punctuation
from aftertrain.plugins.instructions.kind import keyword as word_of
from aftertrain.plugins.instructions.kind import number, of_text, position
from aftertrain.plugins.instructions.resources import sentences
from aftertrain.plugins.instructions.resources import words as tokens

CLUSTER = re.compile("[bcdfghjklmnpqrstvwxyz]{2}")
PRIMES = frozenset((2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97))
"""IFBench knows no prime above 97."""


def alphabet(text: str) -> bool:
    """Each word begins with the letter after that of the word before; `a` follows `z`."""
    words = without_punctuation(text).split()
    if not words or words[0][0].lower() not in string.ascii_lowercase:
        return False
    start = string.ascii_lowercase.index(words[0][0].lower())
    return all(
        word.lower()[0] == string.ascii_lowercase[(start + place) % 26] for place, word in enumerate(words[1:], 1)
    )


def consonants(text: str) -> bool:
    """Each word holds two consonants side by side (`y` is one)."""
    return all(CLUSTER.search(word) for word in text.lower().split())


def keywords_specific_position(text: str, keyword: str, n: int, m: int) -> bool:
    """The m-th word of the n-th sentence is the keyword, in any case; tokens of marks alone do not count."""
    parts = sentences(text)
    if len(parts) < n:
        return False
    words = [token for token in tokens(parts[n - 1]) if any(map(str.isalnum, token))]
    return len(words) >= m and words[m - 1].lower() == keyword.lower()


def last_first(text: str) -> bool:
    """Each sentence begins with the word that the one before ends with, in any case."""
    for before, after in pairwise(sentences(text)):
        last, first = before.rstrip(EDGES).split(), after.lstrip(EDGES).split()
        if not last or not first or last[-1].lower() != first[0].lower():
            return False
    return True


def no_consecutive(text: str) -> bool:
    """No word begins with the letter of the word before."""
    return all(first[0] != second[0] for first, second in pairwise(without_punctuation(text.lower()).split()))


def odd_even_syllables(text: str) -> bool:
    """Odd and even numbers of syllables take turns (syllapy counts them; a word with a digit has none)."""
    import syllapy

    odd = (syllapy.count(word) % 2 for word in without_punctuation(text).lower().split())
    return all(first != second for first, second in pairwise(odd))


def palindrome(text: str) -> bool:
    """At least ten words of five letters or more read the same backwards; a word counts as often as it stands there."""
    words = without_punctuation(text).lower().split()
    return sum(1 for word in words if len(word) >= 5 and word == word[::-1]) >= 10


def paragraph_last_first(text: str) -> bool:
    """Each line ends with the word it begins with, in any case; lines of marks alone pass."""
    for line in text.lower().split("\n"):
        words = line.strip().strip(EDGES).split()
        if words and words[0] != words[-1]:
            return False
    return True


def prime_lengths(text: str) -> bool:
    """Each word's length is a prime number, punctuation left out."""
    return all(len(word) in PRIMES for word in without_punctuation(text).split())


def repeats(text: str, small_n: float) -> bool:
    """No word stands there more often than so many times."""
    return all(count <= small_n for count in Counter(without_punctuation(text.lower()).split()).values())


def start_verb(text: str) -> bool:
    """The first word is a verb, says NLTK's tagger."""
    words = tokens(text)
    return bool(words) and "VB" in tagger.first_tag(words)


def vowel(text: str) -> bool:
    """One line with at most three of the vowels `aeiou`."""
    stripped = text.strip()
    return "\n" not in stripped and sum(1 for letter in "aeiou" if letter in stripped.lower()) <= 3


def words_position(text: str, keyword: str) -> bool:
    """The second word and the last but one are the keyword, in any case; one mark at the end does not count."""
    words = [token.lower() for token in tokens(text)]
    place = 3 if words and words[-1] in PUNCTUATION else 2
    return len(words) >= place and words[1] == words[-place] == keyword.lower()


KINDS = {
    "words:alphabet": of_text(alphabet),
    "words:consonants": of_text(consonants),
    "words:keywords_specific_position": of_text(
        keywords_specific_position, {"keyword": word_of, "n": position, "m": position}, needs=("punkt",)
    ),
    "words:last_first": of_text(last_first, needs=("punkt",)),
    "words:no_consecutive": of_text(no_consecutive),
    "words:odd_even_syllables": of_text(odd_even_syllables, needs=("syllapy",)),
    "words:palindrome": of_text(palindrome),
    "words:paragraph_last_first": of_text(paragraph_last_first),
    "words:prime_lengths": of_text(prime_lengths),
    "words:repeats": of_text(repeats, {"small_n": number}),
    "words:start_verb": of_text(start_verb, needs=("punkt", "tagger")),
    "words:vowel": of_text(vowel),
    "words:words_position": of_text(words_position, {"keyword": word_of}, needs=("punkt",)),
}
