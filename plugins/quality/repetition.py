"""How much a text repeats itself: the rules of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1).

Its bounds: duplicate lines 0.30, paragraphs 0.30, their characters 0.20 each; most frequent n-gram 0.20, 0.18, 0.16 for
n = 2, 3, 4; repeated n-grams 0.15, 0.14, 0.13, 0.12, 0.11, 0.10 for n = 5 … 10.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from aftertrain.core.operator import Row, Scorer
from aftertrain.core.records import Record
from aftertrain.plugins.quality.parts import share, text_of
from aftertrain.plugins.quality.settings import RepetitionSettings

_LINES = re.compile(r"\n+")
_PARAGRAPHS = re.compile(r"\n{2,}")


class Repetition(Scorer[RepetitionSettings]):
    """Facts, shares of the text: `duplicate_lines`, `duplicate_paragraphs` and their characters as `…_characters`;
    `top_N_gram`, the characters of the most frequent n-gram; `repeated_N_grams`, those of n-grams that came before."""

    Config = RepetitionSettings

    def facts(self, row: Row) -> Mapping[str, float]:
        """All shares of one row."""
        text = text_of(row, self.settings.of).strip()
        found: dict[str, float] = {}
        for name, rule in (("lines", _LINES), ("paragraphs", _PARAGRAPHS)):
            pieces = rule.split(text)
            count, characters = duplicates(pieces)
            found[f"duplicate_{name}"] = share(count, len(pieces))
            found[f"duplicate_{name}_characters"] = share(characters, len(text))
        words = text.split()
        again = True
        for n in sorted(self.settings.top):
            found[f"top_{n}_gram"] = share(top := most_frequent(words, n) if again else 0, len(text))
            again = again and top > 0
        again = True
        for n in sorted(self.settings.repeated):
            found[f"repeated_{n}_grams"] = share(length := repeated(words, n) if again else 0, len(text))
            # An n-gram that comes again holds shorter ones that do.
            again = again and length > 0
        return found

    def writes(self, taken: type[Record]) -> Collection[str]:
        """By the settings' n."""
        pieces = [f"duplicate_{name}{end}" for name in ("lines", "paragraphs") for end in ("", "_characters")]
        grams = [f"top_{n}_gram" for n in self.settings.top] + [f"repeated_{n}_grams" for n in self.settings.repeated]
        return pieces + grams


def duplicates(pieces: Sequence[str]) -> tuple[int, int]:
    """How many pieces stood before, and their characters.

    >>> duplicates(["ab", "c", "ab", "ab"])
    (2, 4)
    """
    seen: set[str] = set()
    count = characters = 0
    for piece in pieces:
        if piece in seen:
            count, characters = count + 1, characters + len(piece)
        seen.add(piece)
    return count, characters


def most_frequent(words: Sequence[str], n: int) -> int:
    """Characters that lie in the most frequent n-gram, spaces between its words included, each counted once where its
    places overlap; of equally frequent ones the most. 0 where none comes twice: a short text does not repeat itself.

    >>> most_frequent("a b a b c".split(), 2), most_frequent("a b c".split(), 2), most_frequent("a a a".split(), 2)
    (6, 0, 5)
    """
    counts = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    most = max(counts.values(), default=0)
    if most < 2:
        return 0
    covered: dict[tuple[str, ...], int] = {gram: 0 for gram, count in counts.items() if count == most}
    ends = dict.fromkeys(covered, 0)
    for place, gram in enumerate(zip(*(words[start:] for start in range(n)), strict=False)):
        if gram in covered:
            fresh = max(place, ends[gram])
            ends[gram] = place + n
            # A space before the first fresh word lies in the n-gram where the word before it does too.
            spaces = place + n - fresh - (fresh == place)
            covered[gram] += sum(map(len, words[fresh : place + n])) + spaces
    return max(covered.values())


def repeated(words: Sequence[str], n: int) -> int:
    """Characters of the words in n-grams that stood before, each word counted once.

    >>> repeated("a b a b c".split(), 2), repeated("a a a a".split(), 1)
    (2, 3)
    """
    seen: set[tuple[str, ...]] = set()
    characters = place = 0
    while place + n <= len(words):
        gram = tuple(words[place : place + n])
        if gram in seen:
            characters += sum(map(len, gram))
            place += n
        else:
            seen.add(gram)
            place += 1
    return characters
