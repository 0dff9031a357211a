"""Finished evaluations side by side, of one run or of several, or of another evaluator, question by question."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aftertrain.api.finished import FinishedEvaluation, finished_evaluation
from aftertrain.core.errors import RunError
from aftertrain.core.statistics import detectable, holm

if TYPE_CHECKING:
    from aftertrain.core.events import Difference, ScoreRow
    from aftertrain.core.stage import Flip

Key = tuple[str, str, float | None]
"""Task, metric and temperature."""


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        sides: `RUN:STAGE` of each, the one that the others are compared with first.
        scores: the recorded scores of each side that have the same task, by (task, metric, temperature).
        differences: by other side, to the first; the p-values of tasks' headlines are adjusted by Holm's method over
            all sides, those of other figures are left as they are, without `p_holm`.
        flips: by other side, the questions whose headline value changed.
        headlines: (task, metric) of each task's main figure.
        unlike: by other side, the tasks that both have and that differ in data, prompts or rules; they are left out.
        notes: what a reader should know of how sides were paired.
    """

    sides: tuple[str, ...]
    scores: Mapping[Key, tuple[ScoreRow | None, ...]]
    differences: Mapping[str, tuple[Difference, ...]]
    flips: Mapping[str, tuple[Flip, ...]]
    headlines: frozenset[tuple[str, str]] = frozenset()
    unlike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """As plain data: sides, scores, differences with what they find, and changed questions."""
        return {
            "sides": list(self.sides),
            "scores": [[None if cell is None else asdict(cell) for cell in cells] for cells in self.scores.values()],
            "differences": {side: list(map(self._fact, rows)) for side, rows in self.differences.items()},
            "flips": {side: [asdict(flip) for flip in flips] for side, flips in self.flips.items()},
            "unlike": {side: list(tasks) for side, tasks in self.unlike.items()},
            "notes": list(self.notes),
        }

    def _fact(self, row: Difference) -> dict[str, Any]:
        headline = (row.task, row.metric) in self.headlines
        return {**asdict(row), "detects": detects(row), "headline": headline}


def compare(
    first: str | os.PathLike[str],
    *others: str | os.PathLike[str],
    metrics: Mapping[str, str] | None = None,
    where: Sequence[str] = (),
) -> Comparison:
    """Compare evaluations over the questions that both answered: paired differences, intervals, p-values, flips.

    Args:
        first: a run's folder or its name under `runs/`, with `:STAGE` where it has several evaluations; what the others
            are compared with.
        others: likewise, at least one. Beside a run, samples of lm-eval (a file, or the folder of its results),
            predictions of OLMES beside their requests, or a log of inspect.
        metrics: ours to another evaluator's, where they are named differently.
        where: `COLUMN=VALUE` of the lines of another evaluator's files that are read.

    Raises:
        RunError: one is none, one is named twice, or no task of two sides is the same in data, prompts and rules.
    """
    from aftertrain.api.sides import compare_with_files, is_file

    if any(is_file(side) for side in (first, *others)):
        return _headlines_adjusted(compare_with_files((first, *others), metrics or {}, where))
    sides = [finished_evaluation(side) for side in (first, *others)]
    names = tuple(side.name for side in sides)
    if len(set(names)) < len(names):
        raise RunError(f"{', '.join(names)}: an evaluation is named twice")
    compared = {
        side.name: side.built().compared(side.folder, {names[0]: sides[0].folder}, _shared(sides[0], side))
        for side in sides[1:]
    }
    return _headlines_adjusted(
        Comparison(
            names,
            _table(sides),
            {name: tuple(side.differences) for name, side in compared.items()},
            {name: tuple(side.flips) for name, side in compared.items()},
            frozenset((row.task, row.metric) for side in sides for row in side.scores if row.primary),
            {side.name: _unlike(sides[0], side) for side in sides[1:]},
        )
    )


def detects(row: Difference) -> float | None:
    """The least difference that so many pairs find with power 80 %, as many of them changed as here; None for none."""
    if row.better is None or row.worse is None:
        return None
    return detectable(row.n, max(row.better + row.worse, 1) / row.n, row.effect or 1.0)


def _headlines_adjusted(comparison: Comparison) -> Comparison:
    """With the p-values of headlines adjusted over all of them, and no others."""

    def tested(row: Difference) -> bool:
        return row.p is not None and (row.task, row.metric) in comparison.headlines

    ps = [row.p for rows in comparison.differences.values() for row in rows if tested(row) and row.p is not None]
    adjusted = iter(holm(ps))
    differences = {
        name: tuple(replace(row, p_holm=next(adjusted) if tested(row) else None) for row in rows)
        for name, rows in comparison.differences.items()
    }
    return replace(comparison, differences=differences)


def _unlike(base: FinishedEvaluation, side: FinishedEvaluation) -> tuple[str, ...]:
    prints = [{score.task: score.fingerprint for score in each.scores} for each in (base, side)]
    return tuple(task for task, print_ in prints[0].items() if prints[1].get(task, print_) != print_)


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


def _table(sides: Sequence[FinishedEvaluation]) -> dict[Key, tuple[ScoreRow | None, ...]]:
    columns = [{(row.task, row.metric, row.temperature): row for row in side.scores} for side in sides]
    prints = [{row.task: row.fingerprint for row in side.scores} for side in sides]
    table = {}
    for key in dict.fromkeys(key for column in columns for key in column):
        cells = [column.get(key) for column in columns]
        same = {print_[key[0]] for print_ in prints if key[0] in print_}
        if len(same) == 1 and sum(cell is not None for cell in cells) > 1:
            table[key] = tuple(cells)
    return table
