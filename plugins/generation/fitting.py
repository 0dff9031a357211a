"""Which way of decoding a model takes: without padding where its family can, else with the library's own cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.errors import ModelError
from aftertrain.core.packed.model import logit_shaping
from aftertrain.plugins.generation.attending import register
from aftertrain.plugins.generation.decoding import Network
from aftertrain.plugins.generation.flat import FlatNetwork
from aftertrain.plugins.generation.padded import PaddedNetwork, splits
from aftertrain.plugins.generation.products import DecodingLinear

PROBE = ((1, 2, 3, 2), (1, 3))
"""Prompts of the probe, then continued by a token each."""
AGREES = {torch.float32: 1e-3, torch.bfloat16: 0.05}
"""Largest difference between two right ways' probabilities of a token, by the type of the weights."""


def network_of(model: Any) -> Network:
    """The model, decoded without padding if that gives what the library's own way gives.

    Layers whose windows or frequencies differ only beyond the probe's few tokens are told by the configuration.
    """
    padded = PaddedNetwork(model)
    if not splits(model) or not model._can_set_attn_implementation():
        return padded
    own = model.config._attn_implementation
    with torch.inference_mode():
        expected = _probed(padded)
        model.set_attn_implementation(register())
        try:
            flat = FlatNetwork(model, _head(model))
            if float((_probed(flat) - expected).abs().max()) <= AGREES[model.dtype]:
                return flat
        except (ModelError, TypeError):
            # The family asks attention for something of its own, or takes no arguments for it.
            pass
    model.set_attn_implementation(own)
    return padded


def _probed(network: Network) -> Tensor:
    """Probabilities `[2 · prompts, vocabulary]` of the first and second tokens after the probe's prompts."""
    first = network.admit(PROBE, [2] * len(PROBE))
    second = network.step(torch.tensor([2] * len(PROBE), device=first.device))
    network.keep([])
    return torch.cat([first, second]).float().softmax(-1)


def _head(model: Any) -> Callable[[Tensor], Tensor]:
    """Hidden states `[rows, hidden]` to logits, with what the family does to them.

    Raises:
        ModelError: there is no linear output head.
    """
    layer = model.get_output_embeddings()
    if not isinstance(layer, DecodingLinear):
        raise ModelError(f"{type(model).__name__} has no linear output head")
    scale, softcap = logit_shaping(model.config)

    def head(hidden: Tensor) -> Tensor:
        logits: Tensor = layer(hidden)
        if scale != 1:
            logits = logits * scale
        return logits if softcap is None else softcap * torch.tanh(logits / softcap)

    return head
