"""Generators that ask a server: models behind an API."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the generator."""
    registry.add(
        "generator",
        "openai",
        "aftertrain.plugins.endpoints.openai:OpenAI",
        "aftertrain.plugins.endpoints.settings:OpenAISettings",
        "any OpenAI-compatible endpoint (model: http://HOST/v1#NAME): retries, rate limits, a cost ceiling",
    )
