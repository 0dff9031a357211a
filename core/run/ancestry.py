"""What trained a model, as far as the recipe knows it: the data sets of the stages before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aftertrain.core.dataset import Dataset
from aftertrain.core.run.graph import Node
from aftertrain.core.settings import Use

TRAINED = frozenset({"model", "reward_model", "adapter"})
"""Artifacts that are made by training on what a stage reads."""


def trained_on(node: Node, nodes: Iterable[Node]) -> dict[str, tuple[Use[Dataset[Any]], ...]]:
    """The data sets of all stages that made the models which a stage is given, by stage, the last one first.

    Rewards and critics shape a model as data do, so that theirs are among them. A stage that is done by others, such
    as a base model, is not known.
    """
    by_name = {other.name: other for other in nodes}
    found: dict[str, tuple[Use[Dataset[Any]], ...]] = {}
    waiting = list(node.parents)
    while waiting:
        name = waiting.pop(0)
        if name in found or name not in by_name:
            continue
        parent = by_name[name]
        waiting += parent.parents
        found[name] = _read(parent) if parent.stage.output in TRAINED else ()
    return {name: uses for name, uses in found.items() if uses}


def _read(node: Node) -> tuple[Use[Dataset[Any]], ...]:
    """Data sets that are settings of the stage's own; those within others, such as held-out data, are not learnt."""
    settings = node.use.settings
    values = (getattr(settings, name) for name in type(settings).model_fields)
    return tuple(value for value in values if isinstance(value, Use) and value.kind == "dataset")
