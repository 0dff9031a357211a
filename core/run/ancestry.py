"""What trained a model, as far as its recipe knows it: the stages that made it, and what they learnt from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aftertrain.core.dataset import Dataset
from aftertrain.core.ground.wording import counted
from aftertrain.core.run.graph import Node
from aftertrain.core.settings import Builder, Use
from aftertrain.core.stage import BASE, Learnt, Replays

TRAINED = frozenset({"model", "reward_model", "adapter"})
"""Artifacts that are made by training on what a stage reads."""


def makers(models: Iterable[str], nodes: Iterable[Node]) -> tuple[list[Node], bool]:
    """The stages that made models, the last ones first, and whether the recipe's own model is what these began with.

    Rewards, critics and models that wrote rows shape a model as data do, so that what made them counts. Stages that are
    only compared with made nothing.

    Args:
        models: stages, themselves among those that are found, or `base`.
    """
    by_name = {other.name: other for other in nodes}
    waiting = [*models]
    found: dict[str, Node] = {}
    base = False
    while waiting:
        name = waiting.pop(0)
        base = base or name == BASE
        if name not in found and name in by_name and by_name[name].stage.output != "scores":
            found[name] = by_name[name]
            waiting += [parent.stage for parent in by_name[name].inputs]
    return list(found.values()), base


def learnt(node: Node, builder: Builder, folder: Path | None) -> Learnt:
    """What a stage that is done learnt from: its data sets, and the replies of an online one.

    Args:
        folder: of the stage; None where that is not known.
    """
    if node.stage.output not in TRAINED:
        return Learnt()
    data = tuple(builder.build(use) for use in _data(node))
    if not isinstance(node.stage, Replays):
        return Learnt(data)
    from aftertrain.core.learning.rollouts import kept_steps

    steps = [] if folder is None else kept_steps(folder)
    if not steps:
        return Learnt(data, unknown="the replies that it learnt from are gone")
    gone = steps[-1] - len(steps)
    return Learnt(data, folder, f"the replies of {counted(gone, 'step')} are gone" if gone else "")


def trained_on(
    node: Node,
    nodes: Sequence[Node],
    builder: Builder,
    folder: Callable[[str], Path | None],
    elsewhere: Callable[[], dict[str, Learnt]],
) -> dict[str, Learnt]:
    """What the stages learnt from that made the models which a stage is given, by stage, the last one first.

    Args:
        folder: of a stage by its name.
        elsewhere: the same of the recipe's own model, where another run made it.
    """
    types = {other.name: other.stage.output for other in nodes}
    given = [parent.stage for parent in node.inputs if parent.stage == BASE or types.get(parent.stage) in TRAINED]
    stages, base = makers(given, nodes)
    found = {other.name: learnt(other, builder, folder(other.name)) for other in stages}
    return {name: known for name, known in found.items() if known != Learnt()} | (elsewhere() if base else {})


def _data(node: Node) -> Iterator[Use[Dataset[Any]]]:
    """Data sets that are settings of the stage's own; those within others, such as held-out data, are not learnt."""
    settings = node.use.settings
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Use) and value.kind == "dataset":
            yield value
