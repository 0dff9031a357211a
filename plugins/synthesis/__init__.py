"""The stage `synthesize`: prompts of many kinds of people, written and answered by a model, checked by programs."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.synthesis"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the stage."""
    registry.add(
        "stage",
        "synthesize",
        f"{HERE}.stage:Synthesize",
        f"{HERE}.settings:SynthesizeSettings",
        "persona-driven prompts and answers by a model, filtered by votes or verifiers (F10)",
    )
