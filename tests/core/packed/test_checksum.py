"""Checksums of weights: by hand, whatever the layout and the number of threads, and sensitive to every bit."""

from __future__ import annotations

import pytest
import torch

from aftertrain.core.packed.checksum import BLOCK, checksum


def test_by_hand() -> None:
    """1.0 is 0x3F800000 and 2.0 is 0x40000000: 1·0x3F800000 + 3·0x40000000."""
    assert checksum(torch.tensor([1.0, 2.0])) == 0x3F800000 + 3 * 0x40000000
    assert checksum(torch.tensor([-0.0])) == (-(1 << 31)) % (1 << 64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_it_is_a_plain_sum_over_blocks(dtype: torch.dtype) -> None:
    """Of more numbers than a block holds, with Python's whole numbers, which do not overflow."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(BLOCK + 37, generator=generator).to(dtype)
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    expected = sum((2 * i + 1) * bits for i, bits in enumerate(weight.view(whole).tolist()))
    assert checksum(weight) == expected % (1 << 64)
    assert checksum(weight.float(), dtype) == checksum(weight.float().to(dtype))


def test_layout_and_threads_do_not_matter_and_every_bit_does() -> None:
    weight = torch.randn(300, 500, generator=torch.Generator().manual_seed(4))
    first = checksum(weight)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert checksum(weight) == checksum(weight.t().contiguous().t()) == first
    finally:
        torch.set_num_threads(threads)
    assert checksum(weight.t()) != first
    changed = weight.clone()
    changed.view(torch.int32)[7, 11] ^= 1
    assert checksum(changed) != first
