"""Tokens and targets of segments without a Python object for each token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aftertrain.core.packed.packing import Atom

Ints = NDArray[np.int64]


class Span(NamedTuple):
    """Tokens of a segment, and bounds `[start, stop)` of its runs of targets one after the other, both int32."""

    token_ids: NDArray[np.int32]
    targets: NDArray[np.int32]

    def cut(self, limit: int) -> Span:
        """The first `limit` tokens."""
        inside = self.targets[: 2 * int(np.searchsorted(self.targets[0::2], limit))]
        return Span(self.token_ids[:limit], np.minimum(inside, limit))


class SpannedAtoms(Sequence[Atom]):
    """Atoms whose tokens can be looked at without a Python object for each."""

    @abstractmethod
    def spans_of(self, index: int) -> list[Span]:
        """Of each segment of an atom."""


def spans_of(atoms: Sequence[Atom], index: int) -> list[Span]:
    """Of each segment of one of any atoms."""
    if isinstance(atoms, SpannedAtoms):
        return atoms.spans_of(index)
    found = atoms[index]
    return [Span(np.array(each.token_ids, np.int32), np.array(runs_of(each.loss_mask), np.int32)) for each in found]


def runs_of(mask: Sequence[bool]) -> list[int]:
    """Bounds of the runs of targets; the first token, which nothing precedes, is none."""
    marks = np.zeros(len(mask) + 2, np.int8)
    marks[1:-1] = mask
    marks[1] = 0
    found: list[int] = np.flatnonzero(np.diff(marks)).tolist()
    return found
