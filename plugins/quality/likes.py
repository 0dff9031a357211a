"""Who is left out for whom: rows in an order of preference, each kept unless one that is kept before is like it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOBODY = -1


@dataclass
class Decision:
    """By row.

    Attributes:
        kept: the row for which it is left out; -1 for one that is kept.
        similarity: to that row.
        compared: pairs whose sets were compared.
    """

    kept: NDArray[np.int64]
    similarity: NDArray[np.float32]
    compared: int = 0


def leaders(digests: NDArray[np.uint64], rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the best of those with its digest.

    Args:
        digests: `[rows, 2]`.
        rank: place of each row in the order of preference.
    """
    order = np.lexsort((rank, digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    begins = np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1)))
    found = np.empty(len(order), np.int64)
    found[order] = order[begins][np.cumsum(begins) - 1]
    return found


def buckets(
    bands: Iterable[NDArray[np.uint64]], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that share a band's key with another one: pairs of row and bucket, buckets numbered over all bands.

    Args:
        bands: for each band the keys of all rows.
        rows: those that are looked at.
    """
    members, numbers, last = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for keys in bands:
        _, inverse, counts = np.unique(keys[rows], return_inverse=True, return_counts=True)
        shared = np.flatnonzero(counts[inverse] > 1)
        members.append(rows[shared])
        numbers.append(inverse[shared] + last)
        last += len(counts)
    return np.concatenate(members), np.concatenate(numbers)


def decide(
    members: NDArray[np.int64],
    numbers: NDArray[np.int64],
    rank: NDArray[np.int64],
    likeness: Callable[[int, NDArray[np.int64]], tuple[int, float, int]],
) -> Decision:
    """Go through the rows of all buckets, best first.

    Args:
        members, numbers: rows and the buckets that they are in.
        rank: of all rows.
        likeness: of a row and those it may be like: the one it is most like, how much, and how many were compared; -1
            where it is like none.
    """
    decision = Decision(np.full(len(rank), NOBODY, np.int64), np.ones(len(rank), np.float32))
    order = np.lexsort((numbers, rank[members]))
    members, numbers = members[order], numbers[order]
    starts = np.flatnonzero(np.concatenate(([True], members[1:] != members[:-1]))[: len(members)]).tolist()
    ends = [*starts[1:], len(members)][: len(starts)]
    kept_in: defaultdict[int, list[int]] = defaultdict(list)
    for start, end in zip(starts, ends, strict=True):
        row, own = int(members[start]), numbers[start:end].tolist()
        candidates = {other for bucket in own for other in kept_in.get(bucket, ())}
        if candidates:
            in_order = sorted(candidates, key=rank.__getitem__)
            other, similarity, compared = likeness(row, np.array(in_order, np.int64))
            decision.compared += compared
            if other != NOBODY:
                decision.kept[row], decision.similarity[row] = other, similarity
                continue
        for bucket in own:
            kept_in[bucket].append(row)
    return decision
