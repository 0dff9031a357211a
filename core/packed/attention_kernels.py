"""Kernels of packed attention that need a GPU: FlashAttention, torch's own for varying lengths, and flex attention.

Each takes tokens laid end to end and the segments' lengths, without padding. Which one runs is chosen once, when a
model is loaded; one that was asked for by name and cannot run is an error, never replaced.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from aftertrain.core.errors import MissingExtra, ModelError
from aftertrain.core.packed.layout import Kernel, PackedLayout

Wanted = Literal["auto", "sdpa", "flash", "varlen", "flex"]


def choose_kernel(wanted: Wanted, device: torch.device, dtype: str, config: Any) -> Kernel:
    """The kernel for a model on `device` whose products are of `dtype` (`float32` or `bfloat16`).

    Raises:
        ModelError: the one asked for cannot run here, or not with this model; says why.
        MissingExtra: `flash` without its package.
    """
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    if wanted == "auto":
        if device.type != "cuda" or dtype == "float32":
            return "sdpa"
        if find_spec("flash_attn") is not None:
            return "flash"
        if capped:
            return "flex"
        return "varlen" if find_spec("torch.nn.attention.varlen") is not None else "sdpa"
    if wanted == "sdpa":
        return "sdpa"
    if device.type != "cuda":
        raise ModelError(f"engine.attention is {wanted}, which needs a GPU; the model is on {device.type}: use auto")
    if wanted == "flash" and find_spec("flash_attn") is None:
        raise MissingExtra("flash-attn", "flash", "engine.attention: flash")
    if wanted in ("flash", "varlen") and dtype == "float32":
        raise ModelError(f"engine.attention is {wanted}, which computes in bfloat16 only; set engine.dtype: bfloat16")
    if wanted == "varlen" and capped:
        raise ModelError("engine.attention is varlen, which has no soft cap of scores, and the model has: use flex")
    if wanted == "varlen" and find_spec("torch.nn.attention.varlen") is None:
        raise ModelError(f"engine.attention is varlen, which torch {torch.__version__} has not: use flex or sdpa")
    return wanted


def attend_flat(
    layout: PackedLayout,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    *,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """`[heads, M, dim]` query and `[kv_heads, M, dim]` key, value to `[M, heads, dim]`, by the layout's kernel."""
    q, k, v = (layout.whole(tensor, dim=1) for tensor in (query, key, value))
    if layout.kernel == "flex":
        out = _flex(layout, q, k, v, scaling, window=window, softcap=softcap)
    else:
        q, k, v = (tensor.transpose(0, 1).contiguous() for tensor in (q, k, v))
        if q.dtype == torch.float32:
            # Rotary embeddings leave float32 behind under autocast; these kernels know narrow types only.
            q, k, v = (tensor.to(torch.bfloat16) for tensor in (q, k, v))
        out = _varying(layout, q, k, v, scaling, window=window, softcap=softcap)
    return layout.owned(out.to(value.dtype))


def _varying(
    layout: PackedLayout, q: Tensor, k: Tensor, v: Tensor, scaling: float | None, *, window: int | None, softcap: Any
) -> Tensor:
    """By a kernel that takes tokens first, and where each segment begins."""
    left, right = (-1, -1) if window is None else (window - 1, 0)
    segments = (layout.bounds, layout.bounds, max(layout.lengths), max(layout.lengths))
    out: Any
    if layout.kernel == "flash":
        from flash_attn import flash_attn_varlen_func

        options = {"window_size": (left, right), "softcap": softcap or 0.0, "deterministic": True}
        out = flash_attn_varlen_func(q, k, v, *segments, softmax_scale=scaling, causal=True, **options)
    else:
        from torch.nn.attention.varlen import varlen_attn

        if softcap is not None:
            raise ModelError("attention varlen has no soft cap of scores; use engine.attention: flex")
        grouped = q.shape[1] != k.shape[1]
        out = varlen_attn(q, k, v, *segments, scale=scaling, window_size=(left, 0), enable_gqa=grouped)
    assert isinstance(out, Tensor)
    return out


def _flex(
    layout: PackedLayout,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scaling: float | None,
    *,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Blocks without a visible pair of tokens are skipped, so that cost grows with the segments, not with N²."""
    from torch.nn.attention.flex_attention import create_block_mask

    segments = layout.segments
    n = len(segments)

    def visible(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        seen = (segments[i] == segments[j]) & (i >= j)
        return seen if window is None else seen & (i - j < window)

    def capped(score: Tensor, batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        assert softcap is not None
        return softcap * torch.tanh(score / softcap)

    if window not in layout.masks:
        layout.masks[window] = create_block_mask(visible, None, None, n, n, device=str(segments.device))
    out: Tensor = _compiled_flex(q.device.type)(
        q.unsqueeze(0),
        k.unsqueeze(0),
        v.unsqueeze(0),
        score_mod=None if softcap is None else capped,
        block_mask=layout.masks[window],
        scale=scaling,
        enable_gqa=q.shape[0] != k.shape[0],
    )
    return out[0].transpose(0, 1)


@cache
def _compiled_flex(kind: str) -> Any:
    """Compiled on a GPU; elsewhere as written out by torch, which has no gradient there."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if kind == "cuda" else flex_attention
