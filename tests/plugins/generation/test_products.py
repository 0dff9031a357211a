"""Packed products are the plain ones, and hold no second weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aftertrain.plugins.generation.products import DecodingLinear, packs

CPU = torch.device("cpu")


def _layer(bias: bool, dtype: torch.dtype) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(300, 257, bias=bias).to(dtype).requires_grad_(False)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_a_packed_product_is_the_plain_one(bias: bool, dtype: torch.dtype, near: float) -> None:
    """Of one row, of rows with more dimensions, and of the last of several tokens, a slice that is not contiguous."""
    plain = _layer(bias, dtype)
    packed = DecodingLinear(plain)
    if not packs(CPU, dtype):
        pytest.skip("torch was built without oneDNN")
    packed.pack(plain.weight)
    assert packed.plain is None
    states = torch.randn(5, 7, 300, generator=torch.Generator().manual_seed(1)).to(dtype)
    for rows in (states[0, 0], states, states[:, -1:]):
        torch.testing.assert_close(packed(rows), plain(rows), atol=near, rtol=near)


def test_another_weight_takes_the_place_of_the_first() -> None:
    plain = _layer(False, torch.float32)
    packed = DecodingLinear(plain)
    packed.pack(plain.weight)
    packed.pack(plain.weight * 2)
    rows = torch.randn(3, 300)
    torch.testing.assert_close(packed(rows), plain(rows) * 2, atol=1e-5, rtol=1e-5)


def test_a_packed_weight_can_be_looked_at() -> None:
    plain = _layer(False, torch.bfloat16)
    packed = DecodingLinear(plain)
    assert packed.weight.data_ptr() == plain.weight.data_ptr()
    packed.pack(plain.weight)
    assert torch.equal(packed.weight, plain.weight)
