"""Which problems an online step asks, and which groups of replies it learns from."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.selection"

ROWS = (
    ("all", "selections:All", "AllSettings", "each problem in turn, and all replies: nothing is filtered"),
    ("informative", "selections:Informative", "InformativeSettings", "DAPO: groups that differ; more are asked for"),
    (
        "oversample",
        "selections:Oversample",
        "OversampleSettings",
        "more problems than a step needs; the most telling",
    ),
    ("curriculum", "selections:Curriculum", "CurriculumSettings", "problems near a wanted pass rate come more often"),
)


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the selections."""
    for name, component, settings, summary in ROWS:
        registry.add("selection", name, f"{HERE}.{component}", f"{HERE}.settings:{settings}", summary)
