"""Attention of segments that begin alike over one copy of their beginning (F14), for a CPU, with its gradient.

A segment's own tokens see the beginning whole and one another causally. Both are plain calls of torch's flash kernel,
without a mask: the own tokens of all segments that share a beginning are the queries of one call over it, and segments
of one length are the batch of one causal call. Two calls on the same queries are put together as FlashAttention does
with blocks of keys (Dao et al. 2022, section 3.1), by the logarithms l of their sums of exponentials:

    l = log(e^l₁ + e^l₂)        o = e^(l₁ − l) o₁ + e^(l₂ − l) o₂

and its backward pass of a block needs nothing but the whole's o and l, so that each call's gradient is the kernel's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True, slots=True)
class Calls:
    """What is computed for the tokens of a layout, by their places among those that are computed.

    Attributes:
        own: (start, segments, length): segments of one length one after the other, each causal over itself.
        beginnings: (start, stop, at, length): tokens that see the `length` tokens from place `at` on, all of them.
    """

    own: tuple[tuple[int, int, int], ...]
    beginnings: tuple[tuple[int, int, int, int], ...]


def calls_of(spans: list[tuple[int, int, int, int]]) -> Calls:
    """The fewest calls for segments that lie one after the other.

    Args:
        spans: (start, length, at, n) of each segment: its own tokens, and the `n` tokens from place `at` on with which
            it begins; n is 0 where it begins with its own.

    >>> calls_of([(0, 7, 0, 0), (7, 3, 0, 4), (10, 3, 0, 4), (13, 2, 0, 4)]).own
    ((0, 1, 7), (7, 2, 3), (13, 1, 2))
    >>> calls_of([(0, 7, 0, 0), (7, 3, 0, 4), (10, 3, 0, 4), (13, 2, 0, 4)]).beginnings
    ((7, 15, 0, 4),)
    """
    own: list[tuple[int, int, int]] = []
    beginnings: list[tuple[int, int, int, int]] = []
    for start, length, at, n in spans:
        if not length:
            continue
        if own and own[-1][2] == length:
            own[-1] = (own[-1][0], own[-1][1] + 1, length)
        else:
            own.append((start, 1, length))
        if n and beginnings and beginnings[-1][1:] == (start, at, n):
            beginnings[-1] = (beginnings[-1][0], start + length, at, n)
        elif n:
            beginnings.append((start, start + length, at, n))
    return Calls(tuple(own), tuple(beginnings))


def attends_apart(config: PretrainedConfig) -> str:
    """Why layers of such a model attend sample by sample where all else of a beginning is computed once; or blank."""
    text = config.get_text_config()
    window, capped = getattr(text, "sliding_window", None), getattr(text, "attn_logit_softcapping", None)
    if window is not None and getattr(text, "use_sliding_window", True):
        return f"layers with a sliding window ({window:,} tokens) attend to it reply by reply where it is narrower"
    return "" if capped is None else "attention with soft-capped scores reads it reply by reply"


def attend_shared(query: Tensor, key: Tensor, value: Tensor, calls: Calls, scaling: float | None) -> Tensor:
    """`[heads, M, dim]` query and `[kv_heads, M, dim]` key, value to `[M, heads, dim]`; all dims are equal.

    Under autocast all are of autocast's dtype, as for torch's own attention.
    """
    if torch.is_autocast_enabled(query.device.type):
        narrow = torch.get_autocast_dtype(query.device.type)
        query, key, value = (states.to(narrow) for states in (query, key, value))
    out: Tensor = _Shared.apply(query, key, value, calls, scaling)  # type: ignore[no-untyped-call]
    return out


def _batch(tokens: Tensor, start: int, n: int, length: int) -> Tensor:
    """`[heads, M, dim]` to a view `[n, heads, length, dim]` of `n` segments."""
    heads, _, dim = tokens.shape
    return tokens[:, start : start + n * length].view(heads, n, length, dim).transpose(0, 1)


class _Shared(torch.autograd.Function):
    """The calls put together; o and l are kept as `[M, heads, dim]` and `[M, heads]`, as the kernel lays them out."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd hands arguments over by position
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, calls: Calls, scaling: float | None
    ) -> Tensor:
        out: Tensor = q.new_empty(q.shape[1], q.shape[0], v.shape[2])
        sums = torch.empty(out.shape[:2], dtype=torch.promote_types(q.dtype, torch.float32))
        for start, n, length in calls.own:
            parts = (_batch(states, start, n, length) for states in (q, k, v))
            o, own_sums = _forward(*parts, 0.0, True, scale=scaling)
            at = slice(start, start + n * length)
            out[at] = o.transpose(1, 2).flatten(0, 1)
            sums[at] = own_sums.transpose(1, 2).flatten(0, 1)
        for start, stop, first, length in calls.beginnings:
            seen = slice(first, first + length)
            o, seen_sums = _forward(
                *(s.unsqueeze(0) for s in (q[:, start:stop], k[:, seen], v[:, seen])), scale=scaling
            )
            before, own = seen_sums[0].t(), sums[start:stop]
            both = torch.logaddexp(own, before)
            weight = torch.exp(own - both).unsqueeze(2)
            mixed = out[start:stop] * weight + o[0].transpose(0, 1) * torch.exp(before - both).unsqueeze(2)
            out[start:stop] = mixed
            sums[start:stop] = both
        ctx.calls, ctx.scaling = calls, scaling
        ctx.save_for_backward(q, k, v, out, sums)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, sums = ctx.saved_tensors
        o, all_sums, g = out.transpose(0, 1), sums.t(), grad.transpose(0, 1)
        into_q, into_k, into_v = (torch.empty_like(states) for states in (q, k, v))
        for start, n, length in ctx.calls.own:
            queries, keys, values, outs, grads = (_batch(states, start, n, length) for states in (q, k, v, o, g))
            log_sums = _batch(all_sums.unsqueeze(2), start, n, length).squeeze(3)
            parts = _backward(grads, queries, keys, values, outs, log_sums, 0.0, True, scale=ctx.scaling)
            for whole, part in zip((into_q, into_k, into_v), parts, strict=True):
                _batch(whole, start, n, length).copy_(part)
        for start, stop, first, length in ctx.calls.beginnings:
            at, seen = slice(start, stop), slice(first, first + length)
            queries, keys, values, outs, grads = (
                states.unsqueeze(0) for states in (q[:, at], k[:, seen], v[:, seen], o[:, at], g[:, at])
            )
            log_sums = all_sums[:, at].unsqueeze(0)
            parts = _backward(grads, queries, keys, values, outs, log_sums, 0.0, False, scale=ctx.scaling)
            for whole, place, part in zip((into_q, into_k, into_v), (at, seen, seen), parts, strict=True):
                whole[:, place] += part[0]
        return into_q, into_k, into_v, None, None
