"""From scored instances to what a reader sees: means with intervals, paired differences, health."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from aftertrain.core.events import Difference, Health, ScoreRow
from aftertrain.core.records import UNJUDGED
from aftertrain.core.statistics import holm, mean_interval, paired_difference, paired_p
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.suite import ReadyTask

Cell = tuple[str, float]
"""Task and temperature."""


def by_cell(rows: Iterable[ScoredInstance]) -> dict[Cell, list[ScoredInstance]]:
    """Rows grouped by task and temperature."""
    grouped: dict[Cell, list[ScoredInstance]] = {}
    for row in rows:
        grouped.setdefault((row.task, row.temperature), []).append(row)
    return grouped


def scores(tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance]) -> list[ScoreRow]:
    """One row per task, temperature and metric, the primary metric first, with its 95 % interval.

    `unjudged` counts the replies whose judging failed or took too long. They are in the mean with what the task gave
    them (0); `lowest` and `highest` are what the mean would be if all of them were wrong, or right. None for a metric
    that is no share.
    """
    cells = by_cell(rows)
    table: list[ScoreRow] = []
    for task in tasks:
        for temperature in task.temperatures:
            cell = cells[task.name, temperature]
            primary = task.task.primary_metric
            for metric in sorted(cell[0].metrics, key=lambda name: (name != primary, name)):
                interval = mean_interval([row.metrics[metric] for row in cell])
                lowest, highest = _bounds(cell, metric)
                table.append(
                    ScoreRow(
                        task=task.name,
                        metric=metric,
                        temperature=temperature,
                        mean=interval.mean,
                        low=interval.low,
                        high=interval.high,
                        n=interval.n,
                        unjudged=sum(map(unjudged, cell)),
                        lowest=lowest,
                        highest=highest,
                        primary=metric == primary,
                        fingerprint=task.fingerprint,
                    )
                )
    return table


def unjudged(row: ScoredInstance) -> bool:
    """Whether the row's score says nothing of its reply."""
    return row.outcome in UNJUDGED


def _bounds(rows: Sequence[ScoredInstance], metric: str) -> tuple[float | None, float | None]:
    """A share's mean if all that could not be judged were wrong, and if all were right."""
    if not all(0 <= row.metrics[metric] <= 1 for row in rows):
        return None, None
    judged = sum(row.metrics[metric] for row in rows if not unjudged(row))
    return judged / len(rows), (judged + sum(map(unjudged, rows))) / len(rows)


def differences(rows: Sequence[ScoredInstance], others: Mapping[str, Sequence[ScoredInstance]]) -> list[Difference]:
    """This stage minus each compared one over the same instances: mean, 95 % paired bootstrap interval, flips.

    `p` is McNemar's exact p-value where scores are 0 or 1, else that of the sign-flip test, over the pairs that could
    be judged; `p_holm` that of Holm over all of this stage's. `lowest` and `highest` are what the mean would be if all
    that could not be judged (`unjudged` pairs) spoke against this stage, or for it.
    """
    table: list[Difference] = []
    for against, theirs in others.items():
        cells = by_cell(theirs)
        for (task, temperature), mine in by_cell(rows).items():
            before = {row.id: row for row in cells.get((task, temperature), [])}
            if not before:
                continue
            for metric in mine[0].metrics:
                pairs = [(before[row.id], row) for row in mine if metric in before[row.id].metrics]
                if not pairs:
                    continue
                old, new = _sides(pairs, metric)
                interval = paired_difference(old, new)
                judged = [pair for pair in pairs if not any(map(unjudged, pair))]
                lowest, highest = _difference_bounds(pairs, metric)
                table.append(
                    Difference(
                        task=task,
                        metric=metric,
                        temperature=temperature,
                        against=against,
                        mean=interval.mean,
                        low=interval.low,
                        high=interval.high,
                        n=interval.n,
                        better=sum(b > a for a, b in zip(old, new, strict=True)),
                        worse=sum(b < a for a, b in zip(old, new, strict=True)),
                        unjudged=len(pairs) - len(judged),
                        lowest=lowest,
                        highest=highest,
                        p=paired_p(*_sides(judged, metric)) if judged else None,
                    )
                )
    adjusted = iter(holm([row.p for row in table if row.p is not None]))
    return [row if row.p is None else replace(row, p_holm=next(adjusted)) for row in table]


Pair = tuple[ScoredInstance, ScoredInstance]


def _sides(pairs: Sequence[Pair], metric: str) -> tuple[list[float], list[float]]:
    return [old.metrics[metric] for old, _ in pairs], [new.metrics[metric] for _, new in pairs]


def _difference_bounds(pairs: Sequence[Pair], metric: str) -> tuple[float | None, float | None]:
    """The mean difference at its lowest and highest, over what could not be judged on either side."""
    lowest_old, highest_old = _bounds([old for old, _ in pairs], metric)
    lowest_new, highest_new = _bounds([new for _, new in pairs], metric)
    if lowest_old is None or highest_old is None or lowest_new is None or highest_new is None:
        return None, None
    return lowest_new - highest_old, highest_new - lowest_old


def health(rows: Sequence[ScoredInstance]) -> list[Health]:
    """Per task and temperature: replies, how many were cut at the limit or empty, and the outcomes."""
    return [
        Health(
            task=task,
            temperature=temperature,
            n=len(cell),
            truncated=sum(row.finish_reason == "length" for row in cell),
            empty=sum(not row.output.strip() for row in cell),
            mean_tokens=sum(row.n_tokens for row in cell) / len(cell),
            outcomes=dict(sorted(Counter(row.outcome for row in cell).items())),
        )
        for (task, temperature), cell in by_cell(rows).items()
    ]
