"""What a train stage enters into its book: each row of each epoch once, and what became of its tokens.

What is owed comes from the rows as they were tokenised, what ended from the samples and micro-batches of the steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aftertrain.core.batch import PROBE, PackedBatch
from aftertrain.core.book import Book
from aftertrain.core.packed.packing import Atom
from aftertrain.plugins.training.spans import Ints

EPOCH = 1 << 40
"""Rows of an epoch have the numbers below this; those of the next one begin here."""
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Intake:
    """What one pass over rows gave, before any policy and after.

    Attributes:
        rows: row of each sample; one that makes several stands there as often.
        tokens: of each sample, before any cut.
        kept: samples that are trained on.
        dropped: samples that are left out, by reason.
        faults: rows that make no sample, by reason.
        first: number of the first row.
        n_rows: rows that were read.
    """

    rows: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    tokens: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    kept: Flags = field(default_factory=lambda: np.zeros(0, np.bool_))
    dropped: Mapping[str, Flags] = field(default_factory=dict)
    faults: Mapping[str, Ints] = field(default_factory=dict)
    first: int = 0
    n_rows: int = 0

    def owed(self) -> Ints:
        """The number of each row, as often as it makes samples; one that vanished on the way is owed all the same."""
        there = np.concatenate([self.rows, *self.faults.values()])
        vanished = np.setdiff1d(np.arange(self.first, self.first + self.n_rows), there)
        return np.concatenate([there, vanished])


class Accounts:
    """Writes the rows of one attempt into a book.

    Args:
        first: whether this is rank 0, which enters rows; every rank enters the tokens of its share.
    """

    def __init__(self, book: Book, *, first: bool) -> None:
        self._book, self._first = book, first

    def expect(self, intake: Intake, epochs: int) -> None:
        """Owe the rows of all epochs, before the first step of an attempt.

        Raises:
            RunError: a reason of a row that is left out is none to count by; said here, and not after the last step.
        """
        for reason in (*intake.faults, *intake.dropped):
            self._book.drop("row", reason, ())
        rows, tokens = intake.owed(), int(intake.tokens.sum())
        for epoch in range(epochs):
            self._book.expect("row", rows + epoch * EPOCH, tokens)

    def window(self, intake: Intake) -> None:
        """Owe the rows of a stream's next window, and enter those that are left out."""
        if self._first:
            self._book.owe("row", intake.owed(), int(intake.tokens.sum()))
            self._left_out(intake, 1)

    def step(self, rows: Sequence[int], atoms: Sequence[Atom], batches: Iterable[PackedBatch], *, learnt: bool) -> None:
        """Enter one step.

        Args:
            rows: number of each atom's row, its epoch counted in.
            batches: this rank's share of the atoms.
            learnt: whether the weights were updated.
        """
        targets = read = 0
        for batch in batches:
            own, total = tokens_of(batch)
            targets, read = targets + own, read + total
        self._book.read("row", context=read - targets, **{"learnt" if learnt else "masked": targets})
        if not self._first:
            return
        cut = [sum(segment.cut for segment in atom if segment.role != PROBE) for atom in atoms]
        self._book.read("row", cut=sum(cut))
        if not learnt:
            self._book.end("row", "skipped", rows)
            return
        self._book.end("row", "learnt", [row for row, tokens in zip(rows, cut, strict=True) if not tokens])
        self._book.end("row", "cut", [row for row, tokens in zip(rows, cut, strict=True) if tokens])

    def close(self, intake: Intake, epochs: int, unreached: Iterable[tuple[int, Ints]]) -> None:
        """Enter what no step saw, after the last one.

        Args:
            unreached: kept samples that training ended before, by their place among the kept ones, of each epoch.
        """
        if not self._first:
            return
        self._left_out(intake, epochs)
        rows, tokens = intake.rows[intake.kept], intake.tokens[intake.kept]
        for epoch, places in unreached:
            self._book.end("row", "unreached", rows[places] + epoch * EPOCH, cut=int(tokens[places].sum()))

    def _left_out(self, intake: Intake, epochs: int) -> None:
        for epoch in range(epochs):
            for reason, rows in intake.faults.items():
                self._book.drop("row", reason, rows + epoch * EPOCH)
            for reason, which in intake.dropped.items():
                cut = int(intake.tokens[which].sum())
                self._book.drop("row", reason, intake.rows[which] + epoch * EPOCH, cut=cut)


def tokens_of(batch: PackedBatch) -> tuple[int, int]:
    """Targets, and all tokens, of the samples of a micro-batch: filler and probes are none."""
    own = batch.counted & (batch.segments["role"] != PROBE)
    read = sum(length for length, counts in zip(batch.lengths, own.tolist(), strict=True) if counts)
    return int((batch.loss_mask & own[batch.segment_ids]).sum()), read
