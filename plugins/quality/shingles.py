"""Words as sets of hashed n-grams of words, by which they are compared: the Jaccard index of two sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]

_FACTOR, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)


class Shingles:
    """Hashes of n-grams. A text with fewer than n words is one n-gram, whole; one without words has none."""

    def __init__(self, n: int) -> None:
        self._n, self._words = n, _WordHashes()

    def __call__(self, found: Sequence[str]) -> Hashes:
        """Distinct hashes of the n-grams of words, ascending."""
        if not found:
            return np.empty(0, np.uint64)
        hashes = np.fromiter(map(self._words.__getitem__, found), np.uint64, len(found))
        n = min(self._n, len(found))
        grams = np.zeros(len(found) - n + 1, np.uint64)
        for place in range(n):
            grams = grams * _FACTOR + hashes[place : len(found) - n + 1 + place]
        grams ^= grams >> _SHIFT
        grams *= _MIX
        grams ^= grams >> _SHIFT
        return np.unique(grams)


class _WordHashes(dict[str, int]):
    """The first 8 bytes of each word's BLAKE2b; forgotten and found anew where there are too many to be kept."""

    MOST = 1_000_000

    def __missing__(self, word: str) -> int:
        if len(self) >= self.MOST:
            self.clear()
        data = word.encode("utf-8", "surrogatepass")
        value = self[word] = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
        return value


def jaccard(one: NDArray[np.unsignedinteger], other: NDArray[np.unsignedinteger]) -> float:
    """|A ∩ B|/|A ∪ B| of two ascending arrays of distinct hashes; 1 of two empty ones.

    >>> jaccard(np.array([1, 2, 3], np.uint32), np.array([2, 3, 4], np.uint32))
    0.5
    """
    common = len(np.intersect1d(one, other, assume_unique=True))
    whole = len(one) + len(other) - common
    return common / whole if whole else 1.0
