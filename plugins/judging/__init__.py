"""Verifiers that ask a model: a judge, and an extractor of answers."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
_HERE = "aftertrain.plugins.judging"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the verifiers."""
    registry.add(
        "verifier",
        "judge",
        f"{_HERE}.judge:Judge",
        f"{_HERE}.settings:JudgeSettings",
        "a model judges the reply: your template, or a ready one (correct, rating, wildguard …)",
    )
    registry.add(
        "verifier",
        "aspects",
        f"{_HERE}.rating:Aspects",
        f"{_HERE}.settings:AspectsSettings",
        "a model rates the reply from 1 to 5: helpfulness, honesty, instruction following, truthfulness",
    )
    registry.add(
        "verifier",
        "wildguard",
        f"{_HERE}.wildguard:WildGuard",
        f"{_HERE}.settings:WildGuardSettings",
        "WildGuard says whether a request is harmful, a response refuses it or is harmful",
    )
    registry.add(
        "verifier",
        "pairwise",
        f"{_HERE}.pairwise:Pairwise",
        f"{_HERE}.settings:PairwiseSettings",
        "a model says which of two replies is better (prompts: arena, alpaca_eval, href, your own)",
    )
    registry.add(
        "verifier",
        "extract",
        f"{_HERE}.extract:Extract",
        f"{_HERE}.settings:ExtractSettings",
        "a model completes 'Thus, the final answer is:', another verifier compares the answer",
    )
