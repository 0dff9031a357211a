"""Verifiers made of verifiers."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
_HERE = "aftertrain.plugins.combining"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the combinators."""
    registry.add(
        "verifier",
        "weighted",
        f"{_HERE}.weighted:Weighted",
        f"{_HERE}.settings:WeightedSettings",
        "the weighted mean of other verifiers' scores",
    )
    registry.add(
        "verifier",
        "all",
        f"{_HERE}.logic:All",
        f"{_HERE}.settings:AllSettings",
        "the lowest score of other verifiers: 1 when every one holds",
    )
    registry.add(
        "verifier",
        "any",
        f"{_HERE}.logic:AnyOf",
        f"{_HERE}.settings:AnySettings",
        "the highest score of other verifiers: 1 as soon as one holds",
    )
    registry.add(
        "verifier",
        "first",
        f"{_HERE}.logic:First",
        f"{_HERE}.settings:FirstSettings",
        "the first of other verifiers that can judge the reply",
    )
    registry.add(
        "verifier",
        "by_source",
        f"{_HERE}.routing:BySource",
        f"{_HERE}.settings:BySourceSettings",
        "another verifier for each data set, chosen by the case's source",
    )
