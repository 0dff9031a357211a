"""Activations computed again in the backward pass (F23): what is kept, and how many bytes that will be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from aftertrain.core.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Mode = Literal["none", "full", "selective"]

_KEPT = (
    "mm",
    "addmm",
    "bmm",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)
"""Operations of aten that cost more to repeat than their results cost to keep."""


def checkpoint_layers(model: PreTrainedModel, mode: Mode = "full") -> None:
    """Make each layer's activations again in the backward pass, all of them or (`selective`) the cheap ones.

    Transformers' own switch needs training mode, with its dropout.

    Raises:
        ModelError: the family has no layers that transformers marks as such.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ModelError(f"{type(model).__name__} has no layers that activation_checkpointing knows")
    for layer in layers:
        layer.forward = _recomputed(layer.forward, selective=mode == "selective")


def _recomputed(forward: Callable[..., Any], *, selective: bool) -> Callable[..., Any]:
    options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    if selective:
        kept = {getattr(torch.ops.aten, name).default for name in _KEPT if hasattr(torch.ops.aten, name)}
        options["context_fn"] = partial(create_selective_checkpoint_contexts, partial(_policy, kept))

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, **options, **kwargs)

    return run


def _policy(kept: set[Any], context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in kept else CheckpointPolicy.PREFER_RECOMPUTE


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths of a decoder of the Llama kind (gated feed-forward, grouped keys), in numbers a token."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    queries: int
    keys: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """From a transformers configuration."""
        text = config.get_text_config()
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        keys = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        return cls(
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            intermediate=text.intermediate_size,
            heads=text.num_attention_heads,
            queries=size * text.num_attention_heads,
            keys=size * keys,
        )

    @property
    def kept(self) -> int:
        """Of one layer: two norms, attention with its slots, gate, its activation, the other half and the product."""
        norms = 2 * (3 * self.hidden + 1)
        attention = (self.queries + 2 * self.keys) + (self.queries + self.heads) + self.queries
        return norms + attention + 4 * self.intermediate

    @property
    def products(self) -> int:
        """Of one layer, results of the seven projections and of attention."""
        attention = 2 * self.queries + 2 * self.keys + self.heads
        return attention + 2 * self.hidden + 2 * self.intermediate


def predicted_bytes(config: Any, tokens: int, mode: Mode, width: int = 4) -> int:
    """Bytes that the layers hold at most for the backward pass of `tokens` tokens, without attention's padding.

    F23, M_eff = M_base (1 + C/N), with N layers and C of them checkpoints, here C = N: beside the activations of the
    one layer that the backward pass is in (M_base, kept in turn for each), every layer's input is held.

        none       N · layer
        full       N · input + layer
        selective  N · (input + products) + layer

    Args:
        config: transformers configuration of a model of the Llama kind.
        width: bytes of a number.
    """
    shape = Shape.of(config)
    if mode == "none":
        return width * tokens * shape.layers * shape.kept
    each = shape.hidden if mode == "full" else shape.hidden + shape.products
    return width * tokens * (shape.layers * each + shape.kept)


@contextmanager
def saved_bytes(model: nn.Module) -> Iterator[list[int]]:
    """Count what autograd keeps in the block, beside the model's weights: one number, grown as storages are saved."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    seen: dict[int, Tensor] = {}
    total = [0]

    def pack(tensor: Tensor) -> Tensor:
        at = tensor.untyped_storage().data_ptr()
        if at not in own and at not in seen:
            seen[at] = tensor  # held, so that no other tensor takes its address
            total[0] += tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield total
