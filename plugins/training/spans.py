"""Tokens and targets of segments without a Python object for each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Span(NamedTuple):
    """Tokens of a segment, and bounds `[start, stop)` of its runs of targets one after the other, both int32."""

    token_ids: NDArray[np.int32]
    targets: NDArray[np.int32]

    def cut(self, limit: int) -> Span:
        """The first `limit` tokens."""
        inside = self.targets[: 2 * int(np.searchsorted(self.targets[0::2], limit))]
        return Span(self.token_ids[:limit], np.minimum(inside, limit))

    def mask(self) -> NDArray[np.bool_]:
        """Which of the tokens are targets."""
        mask = np.zeros(len(self.token_ids), np.bool_)
        for start, stop in self.targets.reshape(-1, 2):
            mask[start:stop] = True
        return mask


def runs_of(mask: Sequence[bool]) -> list[int]:
    """Bounds of the runs of targets; the first token, which nothing precedes, is none."""
    marks = np.zeros(len(mask) + 2, np.int8)
    marks[1:-1] = mask
    marks[1] = 0
    bounds: list[int] = np.flatnonzero(np.diff(marks)).tolist()
    return bounds
