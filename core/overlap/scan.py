"""Training rows against an index: what each row shares with each item, and what the whole corpus does (F3, F5, F6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aftertrain.core.overlap.blocks import Block, Places
from aftertrain.core.overlap.index import EvaluationIndex
from aftertrain.core.overlap.items import Item, TrainingRow

LETTERS = 1 << 20
"""Characters of a block: enough that numpy's calls cost nothing beside the work, few enough for the cache."""
EXPANDED = 1 << 22
"""Places on the evaluation side that are held at once: an n-gram that is in all items of a set has many."""


@dataclass(frozen=True, slots=True)
class Match:
    """An item that stands in a training row.

    Attributes:
        share: of the item's tokens, covered by n-grams of this row.
        how: `whole` of an item that is not testable by n-grams.
    """

    evaluation: str
    item: Item
    share: float
    how: Literal["ngrams", "whole"]


@dataclass(frozen=True, slots=True)
class Flagged:
    """A training row with the items that stand in it, the largest share first."""

    row: TrainingRow
    matches: tuple[Match, ...]


@dataclass(slots=True)
class Tally:
    """What all rows together came to.

    Attributes:
        rows: by source; `letters` are the characters of their texts.
        flagged: rows with a match, by source.
        best: of each item, the largest share that one row covers.
        found: by source, each item's row of the first match, by n-grams (`whole` likewise).
        seen: by length, which n-grams of the evaluation side the corpus has.
    """

    best: NDArray[np.float64]
    seen: dict[int, NDArray[np.bool_]]
    rows: dict[str, int] = field(default_factory=dict)
    letters: dict[str, int] = field(default_factory=dict)
    flagged: dict[str, int] = field(default_factory=dict)
    found: dict[str, dict[int, str]] = field(default_factory=dict)
    whole: dict[str, dict[int, str]] = field(default_factory=dict)

    def count(self, rows: Sequence[TrainingRow]) -> None:
        """Rows that are looked at."""
        counts, letters = self.rows, self.letters
        for row in rows:
            source = row.source
            counts[source] = counts.get(source, 0) + 1
            letters[source] = letters.get(source, 0) + sum(map(len, row.texts))


class Scan:
    """A pass over training rows, block by block, so that memory does not grow with them.

    >>> from aftertrain.core.overlap.items import Evaluation
    >>> from aftertrain.core.overlap.rules import RULES
    >>> asked = "How many of the seven apples on the table are left?"
    >>> index = EvaluationIndex([Evaluation("apples", [Item("1", (asked,))], "")], RULES["tulu3"])
    >>> [flagged] = Scan(index).flagged([TrainingRow("r", "mine", ("Now: " + asked.upper(),), (0,))])
    >>> flagged.row.id, flagged.matches[0].item.id, flagged.matches[0].share
    ('r', '1', 1.0)
    """

    def __init__(self, index: EvaluationIndex) -> None:
        self.index = index
        self.tally = Tally(
            np.zeros(len(index.items)),
            {n: np.zeros(len(table), dtype=np.bool_) for n, table in index.tables.items()},
        )

    def flagged(self, rows: Iterable[TrainingRow]) -> Iterator[Flagged]:
        """The rows that have an item, in their order."""
        for block in _blocks(rows):
            matches = self.matches(block)
            for place in sorted(matches):
                yield Flagged(block[place], matches[place])

    def matches(self, rows: Sequence[TrainingRow]) -> dict[int, tuple[Match, ...]]:
        """Which rows of a block, by their places, have which items."""
        texts = [text for row in rows for text in row.texts]
        owners = np.repeat(np.arange(len(rows)), [len(row.texts) for row in rows])
        self.tally.count(rows)
        block = Block.of(texts, self.index.rule, self.index.vocabulary)
        found: dict[int, list[Match]] = {}
        for n, table in self.index.tables.items():
            hits = table.hits(block)
            self.tally.seen[n][hits.grams] = True
            if n == self.index.rule.n and len(hits.tokens):
                for place, item, share in self._by_ngrams(owners[block.texts_of(hits.tokens)], hits.grams):
                    self._note(self.tally.found, rows[place], item)
                    found.setdefault(place, []).append(self._match(item, share, "ngrams"))
        for place, item in self._whole(block, owners):
            self._note(self.tally.whole, rows[place], item)
            found.setdefault(place, []).append(self._match(item, 1.0, "whole"))
        for place in found:
            source = rows[place].source
            self.tally.flagged[source] = self.tally.flagged.get(source, 0) + 1
        return {place: tuple(sorted(matches, key=lambda match: -match.share)) for place, matches in found.items()}

    def _by_ngrams(self, places: Places, grams: Places) -> Iterator[tuple[int, int, float]]:
        """Rows with an item whose share is above the threshold."""
        index, table = self.index, self.index.tables[self.index.rule.n]
        rows, grams = np.divmod(np.unique(places * len(table) + grams), len(table))
        sizes = np.cumsum(table.counts(grams))
        begun = 0
        while begun < len(sizes):
            before = sizes[begun - 1] if begun else 0
            end = max(begun + 1, int(np.searchsorted(sizes, before + EXPANDED, side="right")))
            end = int(np.searchsorted(rows, rows[end - 1], side="right"))  # a share is of one row
            row_of, items, shares = self._shares(rows[begun:end], grams[begun:end])
            np.maximum.at(self.tally.best, items, shares)
            above = np.flatnonzero(shares > index.rule.threshold)
            yield from zip(row_of[above].tolist(), items[above].tolist(), shares[above].tolist(), strict=True)
            begun = end

    def _shares(self, places: Places, grams: Places) -> tuple[Places, Places, NDArray[np.float64]]:
        """Of each row and item that share an n-gram: the row, the item, the share of the item that the row covers."""
        index, n = self.index, self.index.rule.n
        tokens, which = index.tables[n].places(grams)
        order = np.lexsort((tokens, places[which]))
        tokens, row = tokens[order], places[which[order]]
        text = index.texts_at(tokens)
        gains = np.full(len(tokens), n)
        same = (row[1:] == row[:-1]) & (text[1:] == text[:-1])
        gains[:-1][same] = np.minimum(n, (tokens[1:] - tokens[:-1])[same])
        item = index.text_owner[text]
        shares = gains / (index.text_length[text] * index.texts_of_item[item])
        key = row * len(index.items) + item
        distinct, inverse = np.unique(key, return_inverse=True)
        total: NDArray[np.float64] = np.bincount(inverse, shares).astype(np.float64)
        return distinct // len(index.items), distinct % len(index.items), total

    def _whole(self, block: Block, owners: Places) -> Iterator[tuple[int, int]]:
        """Rows in which all texts of an item stand that is too short for n-grams."""
        index, there = self.index, set[tuple[int, int]]()
        for table in index.wholes.values():
            hits = table.hits(block)
            tokens, which = table.places(hits.grams)
            places = owners[block.texts_of(hits.tokens)][which]
            there.update(zip(places.tolist(), index.texts_at(tokens).tolist(), strict=True))
        if index.short:
            texts, firsts, counts = block.firsts()
            for slot in np.flatnonzero((counts > 0) & (counts < index.rule.whole)).tolist():
                words = block.run(int(firsts[slot]), int(counts[slot]))
                there.update((int(owners[texts[slot]]), text) for text in index.short.get(words, ()))
        counted = Counter((place, int(index.text_owner[text])) for place, text in there)
        yield from sorted(key for key, count in counted.items() if count == index.texts_of_item[key[1]])

    def _match(self, item: int, share: float, how: Literal["ngrams", "whole"]) -> Match:
        return Match(self.index.evaluations[self.index.numbers[item]].name, self.index.items[item], share, how)

    @staticmethod
    def _note(by_source: dict[str, dict[int, str]], row: TrainingRow, item: int) -> None:
        by_source.setdefault(row.source, {}).setdefault(item, row.id)


def _blocks(rows: Iterable[TrainingRow]) -> Iterator[list[TrainingRow]]:
    block, size = [], 0
    for row in rows:
        block.append(row)
        size += sum(map(len, row.texts)) + 1
        if size >= LETTERS:
            yield block
            block, size = [], 0
    if block:
        yield block
