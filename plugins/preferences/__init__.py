"""The stage `preferences`: several replies to each prompt, rated, and what is made of them (F18)."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.preferences"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    registry.add(
        "stage",
        "preferences",
        f"{HERE}.stage:Preferences",
        f"{HERE}.settings:PreferencesSettings",
        "several replies to each prompt, rated: pairs for DPO, the best for SFT, or all of them",
    )
