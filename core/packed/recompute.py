"""Activations computed again in the backward pass (F23): what is kept, and how many bytes that will be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from aftertrain.core.errors import ModelError
from aftertrain.core.packed.logprobs import LOGITS
from aftertrain.core.packed.model import layers_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Mode = Literal["none", "lean", "selective", "full"]

_COSTLY = (
    "mm",
    "addmm",
    "bmm",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)
"""Operations of aten that cost more to repeat than their results cost to keep."""


def recompute_layers(model: PreTrainedModel, mode: Literal["full", "selective"] = "full") -> None:
    """Make each layer's activations again in the backward pass, all of them or (`selective`) the cheap ones.

    Transformers' own switch needs training mode, with its dropout.

    Raises:
        ModelError: see `layers_of`.
    """
    for layer in layers_of(model, "activation_checkpointing"):
        layer.forward = _recomputed(layer.forward, selective=mode == "selective")


def _recomputed(forward: Callable[..., Any], *, selective: bool) -> Callable[..., Any]:
    options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    if selective:
        costly = {getattr(torch.ops.aten, name).default for name in _COSTLY if hasattr(torch.ops.aten, name)}
        options["context_fn"] = partial(create_selective_checkpoint_contexts, partial(_policy, costly))

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, **options, **kwargs)

    return run


def _policy(costly: set[Any], context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in costly else CheckpointPolicy.PREFER_RECOMPUTE


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths of a decoder of the Llama kind (gated feed-forward, grouped keys), in numbers a token."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    queries: int
    keys: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """From a transformers configuration.

        Raises:
            ModelError: the family names its widths otherwise.
        """
        text = config.get_text_config()
        try:
            size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
            keys = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
            return cls(
                layers=text.num_hidden_layers,
                hidden=text.hidden_size,
                intermediate=text.intermediate_size,
                heads=text.num_attention_heads,
                queries=size * text.num_attention_heads,
                keys=size * keys,
                vocabulary=text.vocab_size,
            )
        except AttributeError as error:
            raise ModelError(f"{config.model_type}: its configuration does not say {error.name!r}") from error

    def plain(self, width: int) -> int:
        """Bytes of one layer as transformers has it: two norms, attention with its result twice, gate, its activation,
        the other half and their product. Norms are of float32; each of five linear layers has a narrow input."""
        copies = 2 * self.hidden * 4 if width == 4 else 5 * self.hidden * width
        norms = 2 * (2 * self.hidden + 1) * 4 + copies
        return norms + self._attention(width) + width * (self.queries + 4 * self.intermediate)

    def lean(self, width: int) -> int:
        """Bytes of one layer under notes: what enters two norms, attention, gate and other half."""
        return 2 * (self.hidden + 1) * 4 + self._attention(width) + width * 2 * self.intermediate

    def products(self, width: int) -> int:
        """Bytes of one layer's input, and of the results of its seven projections and of attention."""
        own = self.queries + 2 * self.keys + 2 * self.hidden + 2 * self.intermediate
        return 4 * self.hidden + width * (own + self.queries) + 4 * self.heads

    def weights(self, width: int) -> int:
        """Bytes of autocast's narrow copies of one layer's matrices, which are kept too."""
        matrices = self.hidden * (2 * self.queries + 2 * self.keys + 3 * self.intermediate)
        return 0 if width == 4 else width * matrices

    def _attention(self, width: int) -> int:
        """Queries, keys, values, the result, and a float32 number a head."""
        return width * (2 * self.queries + 2 * self.keys) + 4 * self.heads


def predicted_bytes(config: Any, tokens: int, mode: Mode, width: int = 4) -> int:
    """Bytes that the layers hold at most for the backward pass of `tokens` tokens, without attention's padding.

    F23, M_eff = M_base (1 + C/N), with N layers and C of them checkpoints, here C = N: beside the activations of the
    one layer that the backward pass is in (M_base, kept in turn for each), every layer's input is held.

        none       N · layer
        lean       N · (layer without what is cheap to make)
        selective  N · (input + products) + layer
        full       N · input + layer

    Args:
        config: transformers configuration of a model of the Llama kind.
        width: bytes of a number of products: 4, or 2 under autocast to bfloat16.

    Raises:
        ModelError: the configuration lacks a width.
    """
    shape = Shape.of(config)
    if mode in ("none", "lean"):
        a_token = shape.plain(width) if mode == "none" else shape.lean(width)
        return shape.layers * (tokens * a_token + shape.weights(width))
    a_token = 4 * shape.hidden if mode == "full" else shape.products(width)
    return tokens * (shape.layers * a_token + shape.plain(width)) + shape.weights(width)


def predicted_head_bytes(config: Any, tokens: int, chunk: int | None) -> int:
    """Bytes that the head of a language model holds at most for `tokens` targets: logits twice, and its gradient."""
    shape = Shape.of(config)
    rows = min(tokens, max(1, LOGITS // shape.vocabulary) if chunk is None else chunk)
    return 4 * shape.vocabulary * (2 * rows + shape.hidden)
