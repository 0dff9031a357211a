"""The generator `vllm`: a vLLM engine in a process, and if need be an environment, of its own."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the generator."""
    registry.add(
        "generator",
        "vllm",
        "aftertrain.plugins.vllm_generator.generator:Vllm",
        "aftertrain.plugins.vllm_generator.settings:VllmSettings",
        "vLLM in a process of its own, in another environment if need be: paged cache, weights replaced in place",
    )
