"""Benchmarks whose replies are compared with a baseline's: AlpacaEval 2 (F44) and HREF (F45, with F47 beside it)."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2

_HERE = "aftertrain.plugins.preference_evals"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the tasks."""
    registry.add(
        "eval_task",
        "alpaca_eval",
        f"{_HERE}.alpaca:AlpacaEval",
        f"{_HERE}.settings:AlpacaSettings",
        "AlpacaEval 2: win rate against a baseline's replies, also at equal length (needs a judge)",
    )
    registry.add(
        "eval_task",
        "href",
        f"{_HERE}.href:Href",
        f"{_HERE}.settings:HrefSettings",
        "HREF: wins against a baseline's replies, with a person's reply at hand (needs a judge)",
    )
