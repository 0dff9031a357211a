"""MinHash signatures and the bands by which like ones are found (Broder 1997; Leskovec et al., chapter 3).

A signature's place i holds the least of (aᵢ·h + bᵢ) mod 2⁶⁴ over a set's hashes h, of which the upper 32 bits are kept:
two sets agree there with a probability of their Jaccard index. Signatures of k places are cut into bands of r places;
sets of Jaccard index s agree in a whole band with the probability 1 − (1 − sʳ)^⌊k/r⌋.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 512
"""Hashes of a set that are worked on together, so that all products stay in the cache."""
_UPPER = np.uint64(32)


class MinHash:
    """Signatures of k places, by functions that are drawn from a seed."""

    def __init__(self, k: int, seed: int) -> None:
        drawn = [hashlib.blake2b(f"{seed}/{place}".encode(), digest_size=16).digest() for place in range(k)]
        pairs = np.frombuffer(b"".join(drawn), "<u8").reshape(k, 2)
        self._a, self._b = pairs[:, :1] | np.uint64(1), pairs[:, 1:]

    def __call__(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """The signature of a set; of an empty one all ones."""
        least = np.full(len(self._a), np.iinfo(np.uint64).max, np.uint64)
        for start in range(0, len(hashes), _AT_ONCE):
            np.minimum(least, (self._a * hashes[start : start + _AT_ONCE] + self._b).min(axis=1), out=least)
        return (least >> _UPPER).astype(np.uint32)


def found_with(similarity: float, k: int, r: int) -> float:
    """Probability that two sets of that Jaccard index agree in a band: 1 − (1 − sʳ)^⌊k/r⌋.

    >>> round(found_with(0.7, 128, 4), 4), found_with(1.0, 128, 4)
    (0.9998, 1.0)
    """
    return float(1 - (1 - similarity**r) ** (k // r))


def band_width(threshold: float, k: int, recall: float) -> int:
    """The widest band (r) with which a pair at the threshold is found with a probability of at least `recall`.

    >>> band_width(0.7, 128, 0.98), band_width(0.8, 128, 0.98)
    (5, 7)
    """
    return max((r for r in range(1, k + 1) if found_with(threshold, k, r) >= recall), default=1)


def band_keys(signatures: NDArray[np.uint32], r: int) -> NDArray[np.uint64]:
    """For each signature (row) and band (column) a hash of the band's places."""
    rows, k = signatures.shape
    bands = signatures[:, : k // r * r].reshape(rows, k // r, r).astype(np.uint64)
    keys = np.zeros((rows, k // r), np.uint64)
    for place in range(r):
        keys = (keys ^ bands[:, :, place]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys
