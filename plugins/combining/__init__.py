"""Verifiers made of verifiers."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.combining"

ROWS = (
    ("weighted", "weighted:Weighted", "WeightedSettings", "the weighted mean of other verifiers' scores"),
    ("all", "logic:All", "AllSettings", "the lowest score of other verifiers: 1 when every one holds"),
    ("any", "logic:AnyOf", "AnySettings", "the highest score of other verifiers: 1 as soon as one holds"),
    ("first", "logic:First", "FirstSettings", "the first of other verifiers that can judge the reply"),
    (
        "by_source",
        "routing:BySource",
        "BySourceSettings",
        "another verifier for each data set, chosen by the case's source",
    ),
)


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the combinators."""
    for name, component, settings, summary in ROWS:
        registry.add("verifier", name, f"{HERE}.{component}", f"{HERE}.settings:{settings}", summary)
