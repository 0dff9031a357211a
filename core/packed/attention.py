"""Attention over packed tokens in which no segment sees another (F14), as a transformers attention implementation.

On a CPU one SDPA call per segment is fastest: FlexAttention and nested tensors have no backward there, and a block mask
costs O(N^2). On a GPU without a kernel for varying lengths, and for very short segments, there is one call per group
of like lengths: segments are padded on the right to their group's longest and attended causally, so that no mask is
needed, as a real token never looks at what follows it (`core.packed.layout` says where each token goes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from aftertrain.core.errors import ModelError
from aftertrain.core.packed.attention_kernels import attend_flat
from aftertrain.core.packed.layout import PackedLayout
from aftertrain.core.packed.notes import noted
from aftertrain.core.packed.shared_attention import attend_shared
from aftertrain.core.packed.tree import TokenTree, causal_mask

NAME = "aftertrain_packed"


def register() -> str:
    """Make the implementation known to transformers and return its name, for `attn_implementation=`."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _outside_graphs())
    AttentionMaskInterface.register(NAME, _no_mask)
    return NAME


@lru_cache(maxsize=1)
def _outside_graphs() -> Callable[..., tuple[Tensor, None]]:
    """Attention that no compiled graph holds; made with the first model, as importing the compiler takes seconds."""
    outside: Callable[..., tuple[Tensor, None]] = torch.compiler.disable(attend)  # type: ignore[no-untyped-call]
    return outside


_HARMLESS = frozenset({"position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states"})


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: PackedLayout | TokenTree | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """`[1, heads, N, dim]` query and `[1, kv_heads, N, dim]` key, value to `[1, N, heads, dim]`."""
    family = type(module).__name__
    if packed is None:
        raise ModelError(f"{family}: the model does not hand keyword arguments to attention; packing needs it")
    _check_known(module, attention_mask, is_causal, others)
    if query.shape[:3:2] != (1, packed.n_own):
        raise ModelError(f"{family}: attention got {tuple(query.shape)} for one row of {packed.n_own} tokens")
    if isinstance(packed, TokenTree):
        call = partial(_attention, scaling=scaling, softcap=softcap)
        return packed.attend(query[0], key[0], value[0], sliding_window, call).unsqueeze(0), None
    packed.attended += 1
    if packed.kernel != "sdpa":
        q, k, v = query[0], key[0], value[0]
        flat = attend_flat(packed, q, k, v, scaling, window=sliding_window, softcap=softcap)
        return flat.unsqueeze(0), None
    far = sliding_window is None or sliding_window >= max(packed.lengths)
    if packed.alone and packed.places is not None and far and softcap is None and query.shape[3] == value.shape[3]:
        return attend_shared(query[0], key[0], value[0], packed.calls, scaling).unsqueeze(0), None
    outputs = []
    if packed.alone:
        wholes = [packed.whole(states[0], dim=1).unsqueeze(0) for states in (query, key, value)]
        parts = [torch.split(whole, list(packed.lengths), dim=2) for whole in wholes]
    else:
        parts = [tuple(packed.spread(states[0], queries=states is query)) for states in (query, key, value)]
    for q, k, v in zip(*parts, strict=True):
        mask = None
        if sliding_window is not None and q.shape[2] > sliding_window:
            mask = causal_mask(q.shape[2], q.shape[2], sliding_window, q.device)
        outputs.append(_attention(q, k, v, mask, scaling=scaling, softcap=softcap))
    join = packed.join if packed.alone else packed.collect
    # The output layer keeps what it multiplies; SDPA keeps the parts of it already.
    return noted(join(outputs), lambda *parts: join(parts), *outputs).unsqueeze(0), None


def _check_known(
    module: nn.Module, attention_mask: Tensor | None, is_causal: bool | None, others: Mapping[str, Any]
) -> None:
    """Refuse what would change the result and is not known here.

    Raises:
        ModelError: a mask, a direction or an argument of the family's own.
    """
    family = type(module).__name__
    if attention_mask is not None:
        raise ModelError(f"{family}: attention with a mask of its own cannot be packed")
    if is_causal is False or not getattr(module, "is_causal", True):
        raise ModelError(f"{family}: attention that looks ahead cannot be packed")
    for name, setting in others.items():
        if name not in _HARMLESS and (isinstance(setting, Tensor) or setting not in (None, False, 0)):
            raise ModelError(f"{family}: packed attention does not know the argument {name!r} of this model")


def _attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, scaling: float | None, softcap: float | None
) -> Tensor:
    """Of `[1, heads, length, dim]` queries under a bool mask `[queries, keys]`; None is causal."""
    if softcap is not None:
        return _capped(q, k, v, mask, scaling=scaling, softcap=softcap)
    return nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
    )


def _capped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, scaling: float | None, softcap: float) -> Tensor:
    """Attention whose scores are `softcap * tanh(scores / softcap)` (Gemma 2), written out: SDPA has no such thing."""
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    scores = q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    if mask is None:
        mask = causal_mask(q.shape[2], k.shape[2], None, q.device)
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1, dtype=torch.float32)
    return weights.to(v.dtype) @ v


def _no_mask(*args: Any, config: Any = None, **others: Any) -> None:
    """The layout replaces the mask.

    Raises:
        ModelError: the mask has a form that the attention call is not told of.
    """
    if getattr(config, "attention_chunk_size", None) is not None:
        raise ModelError(f"{config.model_type}: attention in chunks (attention_chunk_size) cannot be packed")
