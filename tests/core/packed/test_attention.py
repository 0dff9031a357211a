"""Packed attention against a plain softmax over each segment alone (F14)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.errors import ModelError
from aftertrain.core.packed.attention import attend
from aftertrain.core.packed.layout import PackedLayout

LENGTHS = st.lists(st.one_of(st.integers(1, 12), st.integers(60, 90)), min_size=1, max_size=6)


def tensors(n: int, heads: int, kv_heads: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(n)
    return [torch.randn(1, h, n, 8, generator=draw).requires_grad_() for h in (heads, kv_heads, kv_heads)]


def alone(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: list[int], window: int | None, softcap: float | None
) -> torch.Tensor:
    """Each segment by itself, every score written out."""
    outputs, start = [], 0
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    for n in lengths:
        part = slice(start, start + n)
        scores = q[0, :, part] @ k[0, :, part].transpose(1, 2) / 8**0.5
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        i, j = torch.arange(n)[:, None], torch.arange(n)
        seen = (j <= i) & (True if window is None else j > i - window)
        outputs.append(scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v[0, :, part])
        start += n
    return torch.cat(outputs, 1).transpose(0, 1).unsqueeze(0)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2)])
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (5, None), (None, 2.0), (5, 2.0)])
@given(lengths=LENGTHS)
def test_packed_is_each_alone(
    heads: int, kv_heads: int, window: int | None, softcap: float | None, lengths: list[int]
) -> None:
    """Outputs and gradients, for any lengths, grouped heads, windows shorter and longer than a segment, soft caps."""
    q, k, v = tensors(sum(lengths), heads, kv_heads)
    layout = PackedLayout(lengths, torch.device("cpu"))
    out, _ = attend(torch.nn.Module(), q, k, v, None, packed=layout, sliding_window=window, softcap=softcap)
    expected = alone(q, k, v, lengths, window, softcap)
    torch.testing.assert_close(out, expected, atol=2e-5, rtol=1e-4)
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((out * direction).sum(), [q, k, v])
    wanted = torch.autograd.grad((expected * direction).sum(), [q, k, v])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@given(LENGTHS)
def test_spread_and_collect_are_inverse(lengths: list[int]) -> None:
    n = sum(lengths)
    tokens = torch.arange(2.0 * n * 3).view(2, n, 3)
    layout = PackedLayout(lengths, torch.device("cpu"))
    assert torch.equal(layout.collect(layout.spread(tokens)), tokens.transpose(0, 1))
    assert sum(count for count, _ in layout.shapes) == len(lengths)


def test_long_segments_are_not_padded_much() -> None:
    """Beyond the cheap length a group's padding stays below the share asked for."""
    lengths = [1000, 500, 480, 65, 64, 3]
    layout = PackedLayout(lengths, torch.device("cpu"))
    assert layout.shapes == [(1, 1000), (2, 500), (2, 65), (1, 3)]


def test_backward_is_deterministic_without_indexed_adds() -> None:
    """The gradient of an index is slow and, in general, not reproducible; ours is an index by the inverse."""
    q, k, v = tensors(30, 2, 2)
    layout = PackedLayout([10, 7, 13], torch.device("cpu"))
    out, _ = attend(torch.nn.Module(), q, k, v, None, packed=layout)
    with torch.profiler.profile() as profile:
        out.sum().backward()
    names = {event.key for event in profile.key_averages()}
    assert not names & {"aten::index_put_", "aten::_index_put_impl_", "aten::index_add_", "aten::scatter_add_"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"s_aux": torch.zeros(2)}, "does not know the argument 's_aux'"),
        ({"position_bias": torch.zeros(2)}, "does not know the argument 'position_bias'"),
        ({"dropout": 0.1}, "does not know the argument 'dropout'"),
        ({"is_causal": False}, "attention that looks ahead"),
        ({"attention_mask": torch.ones(3, 3)}, "a mask of its own"),
        ({"packed": None}, "does not hand keyword arguments to attention"),
    ],
)
def test_what_would_change_the_result_is_refused(arguments: dict[str, Any], message: str) -> None:
    q, k, v = tensors(3, 2, 2)
    given_ = {"attention_mask": None, "packed": PackedLayout([3], torch.device("cpu")), **arguments}
    with pytest.raises(ModelError, match=message):
        attend(torch.nn.Module(), q, k, v, **given_)
