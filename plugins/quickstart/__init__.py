"""The quickstart's world: word problems made on the spot, and the tiny base model that half knows how to solve them."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.quickstart"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    registry.add(
        "dataset",
        "quickstart",
        f"{HERE}.dataset:Quickstart",
        f"{HERE}.settings:QuickstartSettings",
        "word problems generated from a seed, with worked answers",
    )
