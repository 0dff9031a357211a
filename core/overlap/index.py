"""An index of n-grams over the evaluation side, which alone bounds its memory; training data streams past it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aftertrain.core.errors import DataError
from aftertrain.core.overlap.blocks import Block, Hashes, Places
from aftertrain.core.overlap.items import Evaluation
from aftertrain.core.overlap.rules import Rule

SPARSE = 16
"""Places of the filter to an n-gram: one in so many others passes it, and is looked up."""
SMALLEST, LARGEST = 1 << 16, 1 << 26
"""Places of the filter at least and at most."""


@dataclass(frozen=True, slots=True)
class Hits:
    """Where n-grams of the evaluation side stand in a block, verified token by token.

    Attributes:
        tokens: of the block, the first of each hit.
        grams: which n-gram of the table it is.
    """

    tokens: Places
    grams: Places


class GramTable:
    """The distinct n-grams of one length, and where each stands.

    Args:
        block: the evaluation side.
        n: their length.
        tokens: where in the block they start.
    """

    def __init__(self, block: Block, n: int, tokens: Places) -> None:
        self.n = n
        self._block = block
        every = block.ngrams(n)
        hashes = every[tokens] if len(every) else np.empty(0, dtype=np.uint64)
        self._hashes, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        self._firsts = tokens[first]
        order = np.argsort(inverse, kind="stable")
        self._places = tokens[order]
        self._ends = np.cumsum(np.bincount(inverse, minlength=len(self._hashes)))
        self._verify(tokens, inverse)
        bits = int(np.clip(SPARSE * len(self._hashes), SMALLEST, LARGEST) - 1).bit_length()
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(1 << bits, dtype=np.bool_)
        self._filter[self._hashes >> self._shift] = True

    def __len__(self) -> int:
        return len(self._hashes)

    def _verify(self, tokens: Places, inverse: NDArray[np.intp]) -> None:
        """Two n-grams of one hash would hide one another: at 64 bits this is not met, and not passed over."""
        again = np.flatnonzero(tokens != self._firsts[inverse])
        firsts = self._firsts[inverse[again]]
        same = self._block.same_runs(tokens[again], self._block, firsts, self.n)
        for place in np.flatnonzero(~same)[:1].tolist():
            both = (self._block.run(int(token), self.n).decode() for token in (tokens[again[place]], firsts[place]))
            raise DataError(
                f"two {self.n}-grams of the evaluation sets have one hash: {' and '.join(map(repr, both))}; "
                "check these sets apart"
            )

    def hits(self, block: Block) -> Hits:
        """Where the block has n-grams of the table; a hash that is right by chance is no hit."""
        hashes: Hashes = block.ngrams(self.n)
        tokens = np.flatnonzero(self._filter[hashes >> self._shift])
        if not len(tokens) or not len(self._hashes):
            return Hits(tokens[:0], tokens[:0])
        wanted = hashes[tokens]
        grams = np.minimum(np.searchsorted(self._hashes, wanted), len(self._hashes) - 1)
        known = self._hashes[grams] == wanted
        tokens, grams = tokens[known], grams[known]
        inside = block.within(tokens, self.n)
        tokens, grams = tokens[inside], grams[inside]
        same = block.same_runs(tokens, self._block, self._firsts[grams], self.n)
        return Hits(tokens[same], grams[same])

    def places(self, grams: Places) -> tuple[Places, Places]:
        """All places of these n-grams on the evaluation side, and for each which of `grams` stands there."""
        ends = self._ends[grams]
        counts = ends - np.where(grams > 0, self._ends[grams - 1], 0)
        which = np.repeat(np.arange(len(grams)), counts)
        offsets = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._places[(ends - counts)[which] + offsets], which

    def counts(self, grams: Places) -> Places:
        """How many places each has."""
        result: Places = self._ends[grams] - np.where(grams > 0, self._ends[grams - 1], 0)
        return result


class EvaluationIndex:
    """All items of the evaluation sets, by n-grams.

    Args:
        evaluations: their names are different.
        rule: how texts become tokens, and its n.
        sizes: further lengths of n-grams, for ConTAM (F3, F5).

    Attributes:
        numbers: of each item, its evaluation's place.
    """

    def __init__(self, evaluations: Sequence[Evaluation], rule: Rule, sizes: Collection[int] = ()) -> None:
        names = [evaluation.name for evaluation in evaluations]
        if len(set(names)) < len(names):
            raise DataError(f"evaluation sets need different names, found {', '.join(sorted(names))}")
        self.evaluations, self.rule = tuple(evaluations), rule
        self.items = [item for evaluation in evaluations for item in evaluation.items]
        self.numbers = np.repeat(np.arange(len(evaluations)), [len(evaluation.items) for evaluation in evaluations])
        texts = [text for item in self.items for text in item.texts]
        owners = np.repeat(np.arange(len(self.items)), [len(item.texts) for item in self.items])
        self.vocabulary = _vocabulary(texts) if rule.steps else frozenset()
        block = Block.of(texts, rule, self.vocabulary)
        slots, self.text_first, self.text_length = block.firsts()
        self.text_owner = owners[slots]
        self.texts_of_item = np.bincount(self.text_owner, minlength=len(self.items))
        self.n_tokens = len(block.starts)
        self.sizes = tuple(sorted({rule.n, *sizes}))
        self.tables = {n: GramTable(block, n, self._inside(n)) for n in self.sizes}
        self.testable = self._shares(self.text_length >= rule.n) > rule.threshold
        self.wholes, self.short = self._whole_items(block)

    def _inside(self, n: int) -> Places:
        """Tokens from which on n tokens stand in one text."""
        counts = np.maximum(self.text_length - n + 1, 0)
        return np.repeat(self.text_first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())

    def _shares(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """The mean over each item's texts."""
        return np.bincount(self.text_owner, values, len(self.items)) / np.maximum(self.texts_of_item, 1)

    def _whole_items(self, block: Block) -> tuple[dict[int, GramTable], dict[bytes, list[int]]]:
        """Texts of items that are not testable, by all of their tokens: tables by length; of few words, by these."""
        by_length: dict[int, list[int]] = {}
        short: dict[bytes, list[int]] = {}
        for slot in np.flatnonzero(~self.testable[self.text_owner] & (self.text_length > 0)).tolist():
            first, length = int(self.text_first[slot]), int(self.text_length[slot])
            if length >= self.rule.whole:
                by_length.setdefault(length, []).append(first)
            else:
                short.setdefault(block.run(first, length), []).append(slot)
        tables = {length: GramTable(block, length, np.array(sorted(firsts))) for length, firsts in by_length.items()}
        return tables, short

    def texts_at(self, places: Places) -> Places:
        """Which text, as a place in `text_first`, holds each of these tokens."""
        return np.searchsorted(self.text_first, places, side="right") - 1

    def owner_of_tokens(self) -> Places:
        """The item of each token of the evaluation side."""
        order = np.argsort(self.text_first, kind="stable")
        return np.repeat(self.text_owner[order], self.text_length[order])

    def lengths_of_items(self) -> Places:
        """Tokens of each item."""
        return np.bincount(self.text_owner, self.text_length, len(self.items)).astype(np.int64)


def _vocabulary(texts: Iterable[str]) -> frozenset[str]:
    from aftertrain.core.overlap.tokens import tokens

    return frozenset(word for text in texts for word in tokens(text))
