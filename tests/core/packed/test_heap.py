"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes

import pytest
import torch

from aftertrain.core.packed.heap import give_back


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="not glibc 2.33 or later")
def test_holes_between_tensors_go_back() -> None:
    """400 tensors of 100 kB lie below the size that glibc maps by itself; every second one is freed: 20 MB in holes."""
    tensors = [torch.zeros(25_000) for _ in range(400)]
    del tensors[::2]
    before = resident()
    assert not give_back(worth=1 << 60)
    assert resident() > before - 2_000_000
    assert give_back(worth=10_000_000)
    assert resident() < before - 15_000_000
    assert len(tensors) == 200
