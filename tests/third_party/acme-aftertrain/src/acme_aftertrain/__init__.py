"""Registers the plugin acme."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add a loss, a verifier, a judge, two evaluation tasks, a suite of them, a stage, and an operator."""
    registry.add(
        "loss",
        "acme/margin",
        "acme_aftertrain.margin:MarginLoss",
        "acme_aftertrain.settings:MarginSettings",
        "hinge on the log-odds of a preference pair",
    )
    registry.add(
        "verifier",
        "acme/ends_with",
        "acme_aftertrain.ends_with:EndsWith",
        "acme_aftertrain.settings:EndsWithSettings",
        "the reply ends with the ground truth",
    )
    registry.add(
        "verifier",
        "acme/says_yes",
        "acme_aftertrain.says_yes:SaysYes",
        "acme_aftertrain.settings:SaysYesSettings",
        "a model is asked whether the reply is right",
    )
    registry.add(
        "eval_task",
        "acme/capitals",
        "acme_aftertrain.capitals:Capitals",
        "acme_aftertrain.settings:CapitalsSettings",
        "capitals of a few countries, judged by a verifier of choice",
    )
    registry.add(
        "eval_task",
        "acme/mottos",
        "acme_aftertrain.mottos:Mottos",
        "acme_aftertrain.settings:MottosSettings",
        "bits per byte of a few mottos",
    )
    registry.add_suite("acme/mini", "acme_aftertrain", "suites/mini.yaml", "acme's own suite")
    registry.add(
        "stage",
        "acme/short",
        "acme_aftertrain.short:Short",
        "acme_aftertrain.settings:ShortSettings",
        "keeps the conversations of a data set whose replies are short",
    )
    registry.add(
        "operator",
        "acme/sober",
        "acme_aftertrain.sober:Sober",
        "acme_aftertrain.settings:SoberSettings",
        "leaves out what is shouted",
    )


@hookimpl
def aftertrain_doctor() -> list[tuple[str, str]]:
    """What acme's components depend on."""
    return [("acme", "needs nothing of this machine")]
