"""From scored instances to what a reader sees: means with intervals, paired differences, health."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.learning.statistics import holm, mean_interval, paired_difference, paired_p
from aftertrain.core.records import JSON, UNJUDGED
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.suite import ReadyTask

ALARM = 0.05
"""Share of cut or empty replies from which a warning is raised."""

Cell = tuple[str, float]
"""Task and temperature."""


def by_cell(rows: Iterable[ScoredInstance]) -> dict[Cell, list[ScoredInstance]]:
    """Rows grouped by task and temperature."""
    grouped: dict[Cell, list[ScoredInstance]] = {}
    for row in rows:
        grouped.setdefault((row.task, row.temperature), []).append(row)
    return grouped


def scores(tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance]) -> list[dict[str, JSON]]:
    """One entry per task, temperature and metric, the primary metric first, with its 95 % interval.

    `unjudged` counts the replies whose judging failed or took too long. They are in the mean with what the task gave
    them (0); `lowest` and `highest` are what the mean would be if all of them were wrong, or right. None for a metric
    that is no share.
    """
    cells = by_cell(rows)
    found: list[dict[str, JSON]] = []
    for task in tasks:
        for temperature in task.temperatures:
            cell = cells[task.name, temperature]
            primary = task.task.primary_metric
            for metric in sorted(cell[0].metrics, key=lambda name: (name != primary, name)):
                interval = mean_interval([row.metrics[metric] for row in cell])
                lowest, highest = _bounds(cell, metric)
                found.append(
                    {
                        "task": task.name,
                        "metric": metric,
                        "temperature": temperature,
                        "mean": interval.mean,
                        "low": interval.low,
                        "high": interval.high,
                        "n": interval.n,
                        "unjudged": sum(map(unjudged, cell)),
                        "lowest": lowest,
                        "highest": highest,
                        "primary": metric == primary,
                        "fingerprint": task.fingerprint,
                    }
                )
    return found


def unjudged(row: ScoredInstance) -> bool:
    """Whether the row's score says nothing of its reply."""
    return row.outcome in UNJUDGED


def _bounds(rows: Sequence[ScoredInstance], metric: str) -> tuple[float | None, float | None]:
    """A share's mean if all that could not be judged were wrong, and if all were right."""
    if not all(0 <= row.metrics[metric] <= 1 for row in rows):
        return None, None
    judged = sum(row.metrics[metric] for row in rows if not unjudged(row))
    return judged / len(rows), (judged + sum(map(unjudged, rows))) / len(rows)


def check_comparable(tasks: Sequence[ReadyTask], stage: str, against: str, there: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to compare scores of unlike tasks.

    Raises:
        DataError: no task is scored by both stages, or one has another fingerprint there.
    """
    prints = {str(score["task"]): str(score["fingerprint"]) for score in there}
    shared = [task for task in tasks if task.name in prints]
    if not shared:
        raise DataError(
            f"stage {stage!r} cannot be compared with {against!r}: no task in common "
            f"({', '.join(task.name for task in tasks)}; {', '.join(sorted(prints)) or 'none'})"
        )
    unlike = [task for task in shared if task.fingerprint != prints[task.name]]
    if unlike:
        named = "; ".join(
            f"{task.name} is {task.fingerprint[:12]} in {stage!r} and {prints[task.name][:12]} in {against!r}"
            for task in unlike
        )
        raise DataError(
            f"stage {stage!r} cannot be compared with {against!r}, because these tasks differ: {named}. "
            "Give both stages the same data, verifier, limit and max_new_tokens"
        )


def differences(
    rows: Sequence[ScoredInstance], others: Mapping[str, Sequence[ScoredInstance]]
) -> list[dict[str, JSON]]:
    """This stage minus each compared one over the same instances: mean, 95 % paired bootstrap interval, flips.

    `p` is McNemar's exact p-value where scores are 0 or 1, else that of the sign-flip test, over the pairs that could
    be judged; `p_holm` that of Holm over all of this stage's. `lowest` and `highest` are what the mean would be if all
    that could not be judged (`unjudged` pairs) spoke against this stage, or for it.
    """
    found: list[dict[str, JSON]] = []
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
                found.append(
                    {
                        "task": task,
                        "metric": metric,
                        "temperature": temperature,
                        "against": against,
                        "mean": interval.mean,
                        "low": interval.low,
                        "high": interval.high,
                        "n": interval.n,
                        "better": sum(b > a for a, b in zip(old, new, strict=True)),
                        "worse": sum(b < a for a, b in zip(old, new, strict=True)),
                        "unjudged": len(pairs) - len(judged),
                        "lowest": lowest,
                        "highest": highest,
                        "p": paired_p(*_sides(judged, metric)) if judged else None,
                        "p_holm": None,
                    }
                )
    tested = [entry for entry in found if entry["p"] is not None]
    for entry, adjusted in zip(tested, holm([entry["p"] for entry in tested]), strict=True):
        entry["p_holm"] = adjusted
    return found


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


def health(rows: Sequence[ScoredInstance]) -> list[dict[str, JSON]]:
    """Per task and temperature: replies, how many were cut at the limit or empty, and the outcomes."""
    return [
        {
            "task": task,
            "temperature": temperature,
            "n": len(cell),
            "truncated": sum(row.finish_reason == "length" for row in cell),
            "empty": sum(not row.output.strip() for row in cell),
            "outcomes": dict(sorted(Counter(row.outcome for row in cell).items())),
            "mean_tokens": sum(row.n_tokens for row in cell) / len(cell),
        }
        for (task, temperature), cell in by_cell(rows).items()
    ]


def alarms(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader must know before trusting a score."""
    found = []
    for entry in entries:
        place = f"{entry['task']} at temperature {entry['temperature']:g}"
        for count, what, cure in (
            (entry["truncated"], "were cut at the token limit and scored as they stand", "raise max_new_tokens"),
            (entry["empty"], "are empty", "look at samples/instances.jsonl"),
        ):
            if count > ALARM * entry["n"]:
                found.append(f"{place}: {count} of {entry['n']} replies ({count / entry['n']:.0%}) {what}; {cure}")
    return found


def doubts(entries: Sequence[Mapping[str, Any]], health_entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each task and temperature how many replies could not be judged, be it one, and what that leaves open."""
    outcomes = {(entry["task"], entry["temperature"]): entry["outcomes"] for entry in health_entries}
    found = []
    for entry in entries:
        if not entry["primary"] or not entry["unjudged"]:
            continue
        counts = outcomes[entry["task"], entry["temperature"]]
        kinds = ", ".join(f"{counts[kind]} {kind}" for kind in UNJUDGED if counts.get(kind))
        between = ""
        if entry["lowest"] is not None:
            between = f", so that {entry['metric']} lies between {entry['lowest']:.3f} and {entry['highest']:.3f}"
        found.append(
            f"{entry['task']} at temperature {entry['temperature']:g}: {entry['unjudged']} of {entry['n']} replies "
            f"could not be judged ({kinds}) and count as 0{between}; see 'detail' in samples/instances.jsonl"
        )
    return found
