"""Attention over one copy of a beginning is that of each segment alone (F14), in values and in gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aftertrain.core.packed.layout import PackedLayout, Prefix
from aftertrain.core.packed.shared_attention import attend_shared, attends_apart

GROUPS = st.lists(
    st.tuples(st.integers(1, 30), st.lists(st.sampled_from([0, 1, 5, 5, 9, 40]), min_size=1, max_size=4)),
    min_size=1,
    max_size=3,
)


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention of one segment `[heads, length, dim]`, causal, by its definition."""
    repeats, n = len(q) // len(k), q.shape[1]
    scores = q @ k.repeat_interleave(repeats, 0).transpose(1, 2) * q.shape[2] ** -0.5
    scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), float("-inf"))
    return scores.softmax(-1) @ v.repeat_interleave(repeats, 0)


@given(GROUPS)
def test_it_is_softmax_attention_of_each_segment(groups: list[tuple[int, list[int]]]) -> None:
    """Float64, grouped keys: results and the three gradients within 1e-12 of the definition's by autograd."""
    lengths = [prompt + reply for prompt, sizes in groups for reply in sizes]
    prefixes: list[Prefix] = []
    for prompt, sizes in groups:
        owner = len(prefixes)
        prefixes += [Prefix(owner, prompt if number else 0) for number in range(len(sizes))]
    layout = PackedLayout(lengths, torch.device("cpu"), prefixes)
    places = torch.arange(sum(lengths)) if layout.places is None else layout.places
    draw = torch.Generator().manual_seed(sum(lengths))
    states = [
        torch.randn(heads, layout.n_own, 8, generator=draw, dtype=torch.float64).requires_grad_() for heads in (4, 2, 2)
    ]
    shared = attend_shared(*states, layout.calls, None)
    parts = zip(*(torch.split(s[:, places], lengths, dim=1) for s in states), strict=True)
    whole = torch.cat([written_out(*part) for part in parts], 1).transpose(0, 1)
    torch.testing.assert_close(shared[places], whole, atol=1e-12, rtol=1e-12)
    direction = torch.randn(whole.shape, generator=draw, dtype=torch.float64)
    gradients = [torch.autograd.grad((out * direction).sum(), states) for out in (shared[places], whole)]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=1e-12)


def test_a_call_for_each_run_of_what_is_alike() -> None:
    """Three replies to one prompt, two of one length, and an unlike one: 3 causal calls and 1 over the prompt."""
    layout = PackedLayout((30, 24, 24, 21), torch.device("cpu"), [Prefix(0, 0), *[Prefix(0, 20)] * 3])
    assert layout.calls.own == ((0, 1, 30), (30, 2, 4), (38, 1, 1))
    assert layout.calls.beginnings == ((30, 39, 0, 20),)


def test_bfloat16_is_float32_to_rounding() -> None:
    layout = PackedLayout((50, 44, 60), torch.device("cpu"), [Prefix(0, 0), Prefix(0, 40), Prefix(0, 40)])
    draw = torch.Generator().manual_seed(0)
    states = [torch.randn(heads, layout.n_own, 16, generator=draw) for heads in (4, 2, 2)]
    exact = attend_shared(*states, layout.calls, None)
    narrow = attend_shared(*(state.bfloat16() for state in states), layout.calls, None)
    assert narrow.dtype == torch.bfloat16
    assert float((exact - narrow.float()).abs().max()) == pytest.approx(0, abs=0.03)


def test_what_attends_reply_by_reply_is_told() -> None:
    from transformers import Gemma2Config, LlamaConfig, MistralConfig, Qwen2Config

    assert attends_apart(LlamaConfig()) == ""
    assert attends_apart(Qwen2Config(sliding_window=7, use_sliding_window=False)) == ""
    assert "sliding window (7 tokens)" in attends_apart(MistralConfig(sliding_window=7))
    assert "soft-capped" in attends_apart(Gemma2Config(sliding_window=None))
