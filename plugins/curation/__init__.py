"""The stage `curate`: rows through operators, with an account of each."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.curation"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    registry.add(
        "stage",
        "curate",
        f"{HERE}.stage:Curate",
        f"{HERE}.settings:CurateSettings",
        "rows through operators: what is kept, what is left out and why",
    )
