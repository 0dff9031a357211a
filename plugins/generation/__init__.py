"""Generators that run in this process."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the generators."""
    registry.add(
        "generator",
        "transformers",
        "aftertrain.plugins.generation.transformers:Transformers",
        "aftertrain.plugins.generation.settings:TransformersSettings",
        "any Hugging Face causal model, in process, batched with a KV cache (CPU or one GPU)",
    )
