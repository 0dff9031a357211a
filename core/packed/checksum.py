"""Checksums of weights, the same on every device and by any number of threads: sums of whole numbers."""

from __future__ import annotations

import torch
from torch import Tensor

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers of so many bytes."""
BLOCK = 1 << 16
"""Numbers that are summed at a time, which a cache holds."""


def checksum(weight: Tensor, dtype: torch.dtype | None = None) -> int:
    """Σ (2i + 1)·b_i mod 2^64 over the bits b_i of all numbers, read as whole ones.

    Numbers that change places change it, and so does a single bit. 0.0 adds nothing.

    Args:
        dtype: of the numbers whose bits are summed; None: as they are.

    >>> one = torch.tensor([1.0, 2.0])
    >>> checksum(one) == checksum(one.clone()), checksum(one) == checksum(one.flip(0))
    (True, False)
    """
    flat = weight.detach().reshape(-1)
    places = torch.arange(1, 2 * BLOCK, 2, device=flat.device)
    total = torch.zeros((), dtype=torch.int64, device=flat.device)
    for start in range(0, flat.numel(), BLOCK):
        part = flat[start : start + BLOCK]
        part = part if dtype is None else part.to(dtype)
        bits = part.contiguous().view(BITS[part.element_size()]).long()
        # (2(start + j) + 1)·b = (2j + 1)·b + 2·start·b
        total += (places[: len(bits)] * bits).sum() + 2 * start * bits.sum()
    return int(total) & ((1 << 64) - 1)
