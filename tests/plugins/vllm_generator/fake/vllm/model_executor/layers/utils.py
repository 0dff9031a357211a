from __future__ import annotations

from typing import Any


def dispatch_cpu_unquantized_gemm(layer: Any, remove_weight: bool) -> None:
    """Let a layer's product keep a copy of its weights, as vLLM's prepacking does."""
    assert not remove_weight
    packed = layer.weight.detach().clone()
    layer.cpu_linear = lambda hidden: hidden @ packed.T
