"""The graph of a recipe: stages constructed, their parents checked, and an order to run them in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from aftertrain.core.errors import AftertrainError, Issue, RecipeError, unknown
from aftertrain.core.ground.foreign import foreign
from aftertrain.core.ground.usage import Unused, is_set
from aftertrain.core.records import Artifact, ArtifactType
from aftertrain.core.rows.made import find_rows, row_inputs
from aftertrain.core.settings import Builder, Use
from aftertrain.core.stage import BASE, HasIdleSettings, Stage, StageInput

Locate = Callable[[str], str]
"""Where a dotted setting path stands, as `file:line:column`."""


@dataclass(frozen=True)
class Node:
    """One stage of the graph."""

    name: str
    use: Use[Stage[Any]]
    stage: Stage[Any]
    inputs: tuple[StageInput, ...]

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the stages this one waits for, the base model left out."""
        return tuple(dict.fromkeys(parent.stage for parent in self.inputs if parent.stage != BASE))

    def awaited(self, artifacts: Mapping[str, Artifact]) -> list[str]:
        """The stages whose rows it reads and that are not done; it is told where those of the others are.

        Args:
            artifacts: by the name of the stage.
        """
        return find_rows(self.use.settings, artifacts.get)

    def at_work(self) -> AbstractContextManager[None]:
        """Around code of the stage: what it bends of the process is put back, and told where it is a stranger's."""
        ours = type(self.stage).__module__.startswith("aftertrain.")
        level = logging.DEBUG if ours else logging.WARNING
        return foreign(f"stage {self.name!r}", randomness=False, level=level)


def stage_nodes(stages: Mapping[str, Use[Stage[Any]]], builder: Builder) -> dict[str, Node]:
    """Each stage with its parents, by name, which are not checked; see `build_graph`."""
    nodes = {}
    for name, use in stages.items():
        stage = builder.build(use)
        nodes[name] = Node(name, use, stage, (*stage.inputs(), *row_inputs(use.settings)))
    return nodes


def build_graph(
    stages: Mapping[str, Use[Stage[Any]]],
    builder: Builder,
    locate: Locate = lambda path: "recipe",
    base: ArtifactType | None = "model",
) -> tuple[Node, ...]:
    """The stages in the order they run: parents first, otherwise as the recipe lists them.

    Args:
        base: what the recipe's own model is; None where it has none.

    Raises:
        RecipeError: unknown parents, parents of a type that does not fit, settings that are set and not used, cycles;
            all of them at once.
    """
    nodes = stage_nodes(stages, builder)
    faults = [fault for node in nodes.values() for fault in _faults(node, nodes, base)]
    issues = [Issue(locate(path), path, message) for path, message in faults]
    if not nodes:
        issues.append(Issue(locate("stages"), "stages", "a recipe needs at least one stage"))
    if issues:
        raise RecipeError(issues)
    return _ordered(nodes, locate)


def _faults(node: Node, nodes: Mapping[str, Node], base: ArtifactType | None) -> Iterator[tuple[str, str]]:
    """Dotted path and message of each mistake in a stage."""
    own = f"stages.{node.name}"
    if node.name == BASE:
        yield own, f"{BASE!r} names the recipe's own model; call this stage something else"
        return
    if not all(character.isalnum() or character in "._-" for character in node.name) or node.name[:1] in "._-":
        yield own, "a stage's name becomes a folder: letters, digits, '.', '_' and '-' only"
        return
    for path, unused in _without_use(node.stage).items():
        if is_set(node.use.settings, path):
            yield f"{own}.{path}", unused.message
    others = {name: other.stage.output for name, other in nodes.items() if name != node.name}
    outputs = {node.name: node.stage.output, **others} | ({} if base is None else {BASE: base})
    for parent in node.inputs:
        path = f"{own}.{'from' if parent.role == 'model' else parent.role.partition(':')[0]}"
        output = outputs.get(parent.stage)
        if output is None and parent.stage == BASE:
            yield path, "the recipe has no model to go on from; give it one: model: FOLDER"
        elif output is None:
            yield path, unknown("stage", parent.stage, [*others, BASE])
        elif output not in parent.types:
            wanted = " or ".join(sorted(parent.types))
            fitting = sorted(name for name in others if others[name] in parent.types)
            cure = f"; these fit: {', '.join(fitting)}" if fitting else "; no stage of this recipe makes one"
            yield path, f"{parent.stage!r} makes {_a(output)}, this needs a {wanted}{cure}"


def _without_use(stage: Stage[Any]) -> Mapping[str, Unused]:
    try:
        return stage.without_use() if isinstance(stage, HasIdleSettings) else {}
    except AftertrainError:
        # Its components do not fit together; the stage's plan says how.
        return {}


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _ordered(nodes: Mapping[str, Node], locate: Locate) -> tuple[Node, ...]:
    order: list[Node] = []
    placed: set[str] = set()
    while len(order) < len(nodes):
        ready = next((n for n in nodes.values() if n.name not in placed and placed.issuperset(n.parents)), None)
        if ready is None:
            circle = _circle({name: node for name, node in nodes.items() if name not in placed})
            path = f"stages.{circle[0]}"
            raise RecipeError([Issue(locate(path), path, f"stages wait for one another: {' -> '.join(circle)}")])
        order.append(ready)
        placed.add(ready.name)
    return tuple(order)


def _circle(blocked: Mapping[str, Node]) -> Sequence[str]:
    """A cycle among `blocked`: each of them has a parent that is blocked too, so that walking must come round."""
    walk = [next(iter(blocked))]
    while walk[-1] not in walk[:-1]:
        walk.append(next(parent for parent in blocked[walk[-1]].parents if parent in blocked))
    return walk[walk.index(walk[-1]) :]
