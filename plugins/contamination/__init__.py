"""The operators `decontaminate` and `decon`: rows that hold evaluation items are left out."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.contamination"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    registry.add(
        "operator",
        "decontaminate",
        f"{HERE}.decontaminate:Decontaminate",
        f"{HERE}.settings:DecontaminateSettings",
        "leaves out rows that hold evaluation items (F3, F5, F6)",
    )
    registry.add(
        "operator",
        "decon",
        f"{HERE}.decon:Decon",
        f"{HERE}.settings:DeconSettings",
        "leaves out rows in which AllenAI's decon finds evaluation items; its bindings need Python 3.12",
    )
