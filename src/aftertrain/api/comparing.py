"""Finished evaluations side by side, of one run or of several, or of another evaluator, question by question."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aftertrain.api.comparison import Comparison, Key
from aftertrain.api.finished import FinishedEvaluation, finished_evaluation
from aftertrain.core.errors import RunError
from aftertrain.core.statistics import holm

if TYPE_CHECKING:
    from aftertrain.core.events import Difference, ScoreRow


def compare(
    first: str | os.PathLike[str],
    *others: str | os.PathLike[str],
    metrics: Mapping[str, str] | None = None,
    where: Sequence[str] = (),
    model: str | None = None,
) -> Comparison:
    """Compare evaluations over the questions that both answered: paired differences, intervals, p-values, flips.

    Args:
        first: a run's folder or its name under `runs/`, with `:STAGE` where it has several evaluations; what the others
            are compared with.
        others: likewise, at least one. Beside a run, samples of lm-eval (a file, or the folder of its results),
            predictions of OLMES beside their requests, or a log of inspect.
        metrics: ours to another evaluator's, where they are named differently.
        where: `COLUMN=VALUE` of the lines of another evaluator's files that are read.
        model: folder of the model that replied, by which greedy replies that another evaluator's run of it has
            otherwise are told with the gap of the two likeliest tokens where they part (`reply_gaps`).

    Raises:
        RunError: one is none, one is named twice, or no task of two sides is the same in data, prompts and rules.
    """
    from aftertrain.api.foreign_sides import is_file
    from aftertrain.api.with_files import compare_with_files

    if any(is_file(side) for side in (first, *others)):
        return _headlines_adjusted(compare_with_files((first, *others), metrics or {}, where, model))
    if model is not None:
        raise RunError("model: it is for replies of another evaluator's run of it, and no side is another's")
    sides = [finished_evaluation(side) for side in (first, *others)]
    names = tuple(side.name for side in sides)
    if len(set(names)) < len(names):
        raise RunError(f"{', '.join(names)}: an evaluation is named twice")
    names_of = {side.name: _called(sides[0], side) for side in sides}
    compared = {
        side.name: side.built().compared(side.folder, {names[0]: sides[0].folder}, _shared(sides[0], side))
        for side in sides[1:]
    }
    scores = [[replace(row, task=names_of[side.name].get(row.task, row.task)) for row in side.scores] for side in sides]
    return _headlines_adjusted(
        Comparison(
            names,
            _table(scores),
            {name: tuple(side.differences) for name, side in compared.items()},
            {name: tuple(side.flips) for name, side in compared.items()},
            frozenset((row.task, row.metric) for rows in scores for row in rows if row.primary),
            {side.name: _unlike(sides[0], side) for side in sides[1:]},
            tuple(_paired(sides[0], side) for side in sides[1:] if names_of[side.name]),
            contamination={
                side.name: {names_of[side.name].get(task, task): row for task, row in side.contaminations.items()}
                for side in sides
            },
        )
    )


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


def _called(base: FinishedEvaluation, side: FinishedEvaluation) -> dict[str, str]:
    """Tasks of a side that the first side has by another name, and that name: those of one fingerprint are one task.

    Of two with the same fingerprint on one side none is known to be the other's.
    """
    ours, theirs = _prints(base), _prints(side)
    there: dict[str, list[str]] = {}
    for task, print_ in ours.items():
        if theirs.get(task) != print_:
            there.setdefault(print_, []).append(task)
    free = {
        task: print_ for task, print_ in theirs.items() if ours.get(task) != print_ and len(there.get(print_, ())) == 1
    }
    prints = list(free.values())
    return {task: there[print_][0] for task, print_ in free.items() if prints.count(print_) == 1}


def _paired(base: FinishedEvaluation, side: FinishedEvaluation) -> str:
    """That tasks were paired by what they are, whatever they are called."""
    pairs = ", ".join(f"{ours} with {theirs}" for theirs, ours in _called(base, side).items())
    return f"{base.name} and {side.name} call tasks of one identity differently, which are paired: {pairs}"


def _prints(side: FinishedEvaluation) -> dict[str, str]:
    return {score.task: score.fingerprint for score in side.scores if score.fingerprint}


def _unlike(base: FinishedEvaluation, side: FinishedEvaluation) -> tuple[str, ...]:
    ours, theirs, called = _prints(base), _prints(side), _called(base, side)
    paired = {*called, *called.values()}
    return tuple(t for t, print_ in ours.items() if theirs.get(t, print_) != print_ and t not in paired)


def _shared(base: FinishedEvaluation, side: FinishedEvaluation) -> dict[str, str]:
    """Tasks that are the same on both sides, by the side's name, and the first side's name of each.

    Raises:
        RunError: there is none; says which differ.
    """
    prints = [_prints(each) for each in (base, side)]
    shared = {task: task for task, print_ in prints[0].items() if prints[1].get(task) == print_} | _called(base, side)
    if not shared:
        unlike = sorted(prints[0].keys() & prints[1].keys())
        why = f"{', '.join(unlike)} differ in data, prompts, rules, limit or length" if unlike else "they share no task"
        raise RunError(f"{side.name} cannot be compared with {base.name}: {why}")
    return shared


def _table(sides: Sequence[Sequence[ScoreRow]]) -> dict[Key, tuple[ScoreRow | None, ...]]:
    """Scores by key: of each side that asks the task as the first side that has it does, and none of any other."""
    columns = [{(row.task, row.metric, row.temperature): row for row in side} for side in sides]
    table = {}
    for key in dict.fromkeys(key for column in columns for key in column):
        cells = [column.get(key) for column in columns]
        first = next(cell for cell in cells if cell is not None)
        alike = tuple(cell if cell is not None and cell.fingerprint == first.fingerprint else None for cell in cells)
        if sum(cell is not None for cell in alike) > 1:
            table[key] = alike
    return table
