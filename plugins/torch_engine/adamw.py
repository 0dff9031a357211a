"""The optimizer of the torch engine, and the clipping before it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor, nn

from aftertrain.core.engine import AdamW
from aftertrain.core.errors import MissingExtra, ModelError, NumericsError
from aftertrain.core.packed.model import adamw, decayed

Implementation = Literal["fused", "plain", "8bit"]


def make_adamw(model: nn.Module, settings: AdamW, implementation: Implementation) -> torch.optim.Optimizer:
    """AdamW of the weights that are trained, by the implementation that the settings name.

    Raises:
        ModelError, MissingExtra: see `require_8bit`.
    """
    if implementation != "8bit":
        return adamw(model, settings, fused=implementation == "fused")
    groups = decayed(model, settings.weight_decay)
    require_8bit(groups[0]["params"][0].device)
    from bitsandbytes.optim import AdamW8bit

    narrow: torch.optim.Optimizer = AdamW8bit(groups, lr=0.0, betas=(settings.beta1, settings.beta2), eps=settings.eps)
    return narrow


def require_8bit(device: torch.device) -> None:
    """Find what moments in 8 bits cannot do without.

    Raises:
        ModelError: no GPU. MissingExtra: the package bitsandbytes is not installed.
    """
    if device.type != "cuda":
        raise ModelError("engine.adamw is 8bit, which needs a GPU; use fused")
    if find_spec("bitsandbytes") is None:
        raise MissingExtra("bitsandbytes", "8bit", "engine.adamw: 8bit")


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
