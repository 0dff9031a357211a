"""The attention that a model is given for decoding without padding, and what it attends by.

All tokens of a forward lie in one row, whatever reply they belong to. A `Prefill` or a `Step` is handed through the
model's keyword arguments to each layer's attention, which reads and writes the levels there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from aftertrain.core.errors import ModelError
from aftertrain.plugins.generation.levels import Level, joined

NAME = "aftertrain_decoding"
_HARMLESS = frozenset({"position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states"})


class Pass(Protocol):
    """One forward's tokens.

    Attributes:
        attended: how many layers have attended.
    """

    attended: int

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """`[N, heads, dim]` queries and `[N, kv_heads, dim]` keys and values to `[N, heads, dim]`."""


@dataclass
class Prefill:
    """Prompts end to end, each causal over itself and what all begin with.

    Attributes:
        lengths: tokens of each prompt without `common`.
        common: a level of one node, or None.
        into: the level whose nodes `first`, `first` + 1, … the prompts become.
    """

    lengths: Sequence[int]
    common: Level | None
    into: Level
    first: int = 0
    attended: int = 0

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Write the prompts' states, and attend prompt by prompt: no token is padding, none sees another prompt."""
        self.attended += 1
        outputs = []
        lengths = list(self.lengths)
        parts = zip(
            *(torch.split(states.transpose(0, 1), lengths, dim=1) for states in (query, key, value)), strict=True
        )
        for node, (q, k, v) in enumerate(parts, start=self.first):
            self.into.put(layer, node, 0, k, v)
            mask, keys, values = None, k, v
            if self.common is not None:
                before = self.common.keys[layer][0], self.common.values[layer][0]
                mask = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool, device=q.device).tril_()
                mask = nn.functional.pad(mask, (before[0].shape[1], 0), value=True)
                keys, values = torch.cat([before[0], k], 1), torch.cat([before[1], v], 1)
            out = nn.functional.scaled_dot_product_attention(
                q[None],
                keys[None],
                values[None],
                mask,
                is_causal=mask is None,
                scale=scale,
                enable_gqa=len(q) != len(k),
            )
            outputs.append(out[0].transpose(0, 1))
        return torch.cat(outputs)


@dataclass
class Step:
    """The next token of every row.

    Attributes:
        paths: the levels that each run of rows reads, from the common beginning to the replies, which grow.
        sizes: rows of each run.
    """

    paths: Sequence[Sequence[Level]]
    sizes: Sequence[int]
    attended: int = 0

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Write the tokens' states to the replies, and attend to all levels of each row."""
        self.attended += 1
        outputs = []
        parts = zip(self.paths, *(torch.split(states, list(self.sizes)) for states in (query, key, value)), strict=True)
        for path, q, k, v in parts:
            path[-1].append(layer, k, v)
            outputs.append(joined([level.attend(layer, q, scale) for level in path]))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    decoding: Pass | None = None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """`[1, heads, N, dim]` query and `[1, kv_heads, N, dim]` key, value to `[1, N, heads, dim]`.

    Raises:
        ModelError: the family asks for something that decoding without padding does not know.
    """
    _check_known(module, decoding, attention_mask, is_causal, others)
    assert decoding is not None
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = module.layer_idx
    assert isinstance(layer, int)
    return decoding.attend(layer, q, k, v, scale).unsqueeze(0), None


def _check_known(
    module: nn.Module,
    decoding: Pass | None,
    attention_mask: Tensor | None,
    is_causal: bool | None,
    others: Mapping[str, Any],
) -> None:
    family = type(module).__name__
    if decoding is None or not isinstance(getattr(module, "layer_idx", None), int):
        raise ModelError(f"{family}: the model does not hand keyword arguments to attention, or numbers no layers")
    if attention_mask is not None or is_causal is False or not getattr(module, "is_causal", True):
        raise ModelError(f"{family}: attention with a mask of its own")
    for name, setting in others.items():
        if name not in _HARMLESS and (isinstance(setting, Tensor) or setting not in (None, False, 0)):
            raise ModelError(f"{family}: attention with the argument {name!r}")


def register() -> str:
    """Make the attention known to transformers and return its name, for `set_attn_implementation`.

    Levels replace the mask: where an attention has none of its own by that name, transformers looks for none, and does
    not look through the positions for packed sequences first, in each step.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    return NAME
