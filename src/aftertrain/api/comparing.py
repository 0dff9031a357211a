"""Finished evaluations side by side, of one run or of several, question by question."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aftertrain.api.finished import FinishedEvaluation, finished_evaluation
from aftertrain.core.errors import RunError

if TYPE_CHECKING:
    from aftertrain.core.events import Difference, ScoreRow


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        sides: `RUN:STAGE` of each, the one that the others are compared with first.
        scores: the recorded scores of each side that have the same task, by (task, metric, temperature).
        differences: by other side, to the first; p-values are adjusted by Holm's method over all sides.
        flips: by other side, a line for people on each question whose headline value changed.
    """

    sides: tuple[str, ...]
    scores: Mapping[tuple[str, str, float | None], tuple[ScoreRow | None, ...]]
    differences: Mapping[str, tuple[Difference, ...]]
    flips: Mapping[str, tuple[str, ...]]


def compare(first: str | os.PathLike[str], *others: str | os.PathLike[str]) -> Comparison:
    """Compare evaluations over the questions that both answered: paired differences, intervals, p-values, flips.

    Args:
        first: a run's folder or its name under `runs/`, with `:STAGE` where it has several evaluations; what the others
            are compared with.
        others: likewise, at least one.

    Raises:
        RunError: one is none, one is named twice, or no task of two sides is the same in data, prompts and rules.
    """
    from aftertrain.core.statistics import holm

    sides = [finished_evaluation(side) for side in (first, *others)]
    names = tuple(side.name for side in sides)
    if len(set(names)) < len(names):
        raise RunError(f"{', '.join(names)}: an evaluation is named twice")
    compared = {
        side.name: side.built().compared(side.folder, {names[0]: sides[0].folder}, _shared(sides[0], side))
        for side in sides[1:]
    }
    adjusted = iter(holm([row.p for side in compared.values() for row in side.differences if row.p is not None]))
    differences = {
        name: tuple(row if row.p is None else replace(row, p_holm=next(adjusted)) for row in side.differences)
        for name, side in compared.items()
    }
    return Comparison(names, _table(sides), differences, {name: side.flips for name, side in compared.items()})


def _shared(base: FinishedEvaluation, side: FinishedEvaluation) -> frozenset[str]:
    """Tasks that are the same on both sides.

    Raises:
        RunError: there is none; says which differ.
    """
    prints = [{score.task: score.fingerprint for score in each.scores} for each in (base, side)]
    shared = frozenset(task for task, print_ in prints[0].items() if prints[1].get(task) == print_)
    if not shared:
        unlike = sorted(prints[0].keys() & prints[1].keys())
        why = f"{', '.join(unlike)} differ in data, prompts, rules, limit or length" if unlike else "they share no task"
        raise RunError(f"{side.name} cannot be compared with {base.name}: {why}")
    return shared


def _table(
    sides: Sequence[FinishedEvaluation],
) -> dict[tuple[str, str, float | None], tuple[ScoreRow | None, ...]]:
    columns = [{(row.task, row.metric, row.temperature): row for row in side.scores} for side in sides]
    prints = [{row.task: row.fingerprint for row in side.scores} for side in sides]
    table = {}
    for key in dict.fromkeys(key for column in columns for key in column):
        cells = [column.get(key) for column in columns]
        same = {print_[key[0]] for print_ in prints if key[0] in print_}
        if len(same) == 1 and sum(cell is not None for cell in cells) > 1:
            table[key] = tuple(cells)
    return table
