"""The lineage drawn like a history of commits: one row a stage, lanes for branches, curves from parent to child."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aftertrain.plugins.report.facts import Run, Stage

ROW, LANE, MARGIN = 60, 26, 16
BASE = "base"


@dataclass(frozen=True, slots=True)
class Edge:
    """A curve from parent to child; `minor` for roles other than the model (critic, comparison)."""

    path: str
    tone: str
    minor: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A stage's dot, in pixels. `leaf` for evaluations, which make no model."""

    x: int
    y: int
    tone: str
    leaf: bool
    stage: Stage | None


@dataclass(frozen=True, slots=True)
class Graph:
    """All dots and curves."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    width: int
    height: int
    row: int = ROW


def tones(run: Run) -> dict[str, str]:
    """CSS class of the colour of every stage: models get one each, an evaluation has that of the model it judged."""
    makers = [stage.name for stage in run.stages if not is_evaluation(stage)]
    result = {BASE: "t0"} | {name: f"t{1 + index % 6}" for index, name in enumerate(makers)}
    for stage in run.stages:
        if is_evaluation(stage):
            result[stage.name] = result.get(stage.source, "t0")
    return result


def is_evaluation(stage: Stage) -> bool:
    """Whether a stage leaves scores and no model."""
    return (
        stage.use == "evaluate"
        or (stage.artifact is not None and stage.artifact.type == "scores")
        or bool(stage.scores)
    )


def graph(run: Run) -> Graph:
    """Rows in the order of the stages, the base model first."""
    colour = tones(run)
    lanes = _lanes(run.stages)
    rows = {BASE: 0} | {stage.name: index for index, stage in enumerate(run.stages, 1)}

    def at(name: str) -> tuple[int, int]:
        return MARGIN + LANE * lanes[name], ROW // 2 + ROW * rows[name]

    nodes = [
        Node(*at(BASE), colour[BASE], False, None),
        *(Node(*at(stage.name), colour[stage.name], is_evaluation(stage), stage) for stage in run.stages),
    ]
    edges = [
        Edge(_curve(at(parent.stage), at(stage.name)), colour[stage.name], parent.role != "model")
        for stage in run.stages
        for parent in stage.parents
        if parent.stage in rows and rows[parent.stage] < rows[stage.name] and not parent.compared
    ]
    width = 2 * MARGIN + LANE * max(lanes.values())
    return Graph(tuple(nodes), tuple(edges), width, ROW * len(rows))


def _lanes(stages: Sequence[Stage]) -> dict[str, int]:
    """The longest line of models keeps lane 0; every other child opens the first lane free over its rows."""
    parent = {stage.name: stage.source for stage in stages}
    row = {BASE: 0} | {stage.name: index for index, stage in enumerate(stages, 1)}
    lines = [_line(stage.name, parent) for stage in stages if not is_evaluation(stage)]
    spine = max(lines, key=lambda line: (len(line), row[line[0]]), default=[])
    lanes = dict.fromkeys([BASE, *spine], 0)
    taken: dict[int, list[tuple[int, int]]] = {}
    for stage in stages:
        if stage.name in lanes:
            continue
        start, end = row.get(stage.source, 0), _end(stage.name, stages, row)
        lane = 1
        while any(a < end and start < b for a, b in taken.get(lane, [])):
            lane += 1
        taken.setdefault(lane, []).append((start, end))
        lanes[stage.name] = lane
    return lanes


def _end(name: str, stages: Sequence[Stage], row: dict[str, int]) -> int:
    """The last row that draws a curve from this stage."""
    children = [row[s.name] for s in stages if any(p.stage == name and not p.compared for p in s.parents)]
    return max([row[name], *children])


def _line(name: str, parent: dict[str, str]) -> list[str]:
    """A stage and those it comes from, as far as they are known."""
    line: list[str] = []
    while name in parent and name not in line:
        line.append(name)
        name = parent[name]
    return line


def _curve(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x0, y0), (x1, y1) = start, end
    if x0 == x1:
        return f"M{x0} {y0}V{y1}"
    if x1 > x0:  # leave the parent sideways, then run down the child's lane
        bend = y0 + ROW * 3 // 4
        return f"M{x0} {y0}C{x0} {y0 + ROW // 2} {x1} {y0 + ROW // 4} {x1} {bend}V{y1}"
    bend = y1 - ROW * 3 // 4
    return f"M{x0} {y0}V{bend}C{x0} {y1 - ROW // 4} {x1} {y1 - ROW // 2} {x1} {y1}"
