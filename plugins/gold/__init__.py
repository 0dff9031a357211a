"""What gold answers cost a model, in bits per byte, as OLMES measures base models on benchmarks of replies (F43)."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the task."""
    registry.add(
        "eval_task",
        "gold_bits",
        "aftertrain.plugins.gold.task:GoldBits",
        "aftertrain.plugins.gold.settings:GoldSettings",
        "what a benchmark's gold answers cost in bits per byte, given OLMES's prompt (GSM8K, MATH, HumanEval …)",
    )
