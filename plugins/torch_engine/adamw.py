"""The optimizer of the torch engine, and the clipping before it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aftertrain.core.engine import AdamW
from aftertrain.core.errors import MissingExtra, ModelError, NumericsError

Implementation = Literal["fused", "plain", "8bit"]


def make_adamw(model: nn.Module, settings: AdamW, implementation: Implementation) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) of the weights that are trained, without decay of vectors: norms and biases.

    Raises:
        MissingExtra: 8-bit moments without the package bitsandbytes.
        ModelError: 8-bit moments without a GPU.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    options: dict[str, Any] = {"lr": 0.0, "betas": (settings.beta1, settings.beta2), "eps": settings.eps}
    if implementation == "8bit":
        if parameters[0].device.type != "cuda":
            raise ModelError("engine.adamw is 8bit, which needs a GPU; use fused")
        try:
            from bitsandbytes.optim import AdamW8bit
        except ModuleNotFoundError as error:
            raise MissingExtra("bitsandbytes", "8bit", "engine.adamw: 8bit") from error
        made: torch.optim.Optimizer = AdamW8bit(groups, **options)
        return made
    return torch.optim.AdamW(groups, fused=implementation == "fused", **options)


def clip(parameters: Iterable[nn.Parameter], largest: float) -> float:
    """Scale the gradients so that their global norm is at most `largest`; the norm before.

    Raises:
        NumericsError: the norm is not finite; the gradients are left as they were.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms: list[Tensor] = list(torch._foreach_norm(gradients))
    norm = float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
    if not math.isfinite(norm):
        raise NumericsError(f"the gradient's norm is {norm}; the weights are left as they were")
    if norm > largest:
        torch._foreach_mul_(gradients, largest / (norm + 1e-6))
    return norm
