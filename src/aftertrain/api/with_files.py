"""Runs of ours beside another evaluator's results, where it is proved that it asked what our run asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aftertrain.api.comparison import Comparison
from aftertrain.api.finished import finished_evaluation
from aftertrain.api.foreign_sides import foreign_side, is_file
from aftertrain.api.reply_gaps import reply_gaps
from aftertrain.api.side_figures import TaskFigures, interval_of, is_mean, values_of, weights_of
from aftertrain.api.sides import Key, Side, like_side, own_side
from aftertrain.core.clusters import number_of
from aftertrain.core.errors import RunError
from aftertrain.core.events import Difference, ScoreRow
from aftertrain.core.figures import Figure
from aftertrain.core.paired import paired_row, shared_clusters
from aftertrain.core.stage import Flip
from aftertrain.core.statistics import Interval, Weights, mean_interval


def compare_with_files(
    given: Sequence[str | os.PathLike[str]],
    metrics: Mapping[str, str],
    where: Sequence[str],
    model: str | None = None,
) -> Comparison:
    """See `api.comparing.compare`.

    Raises:
        RunError: no side is a run of ours, or a file's questions are not those that it asked.
    """
    runs = [finished_evaluation(side) for side in given if not is_file(side)]
    if not runs:
        raise RunError("one side must be a run of ours, RUN:STAGE, by whose questions the others are paired")
    anchor = own_side(runs[0])
    notes: list[str] = []
    sides = [
        foreign_side(Path(side), anchor, metrics, where, notes)
        if is_file(side)
        else like_side(runs[0], finished_evaluation(side), notes)
        for side in given
    ]
    primary = {(row.task, row.metric) for run in runs for row in run.scores if row.primary}
    by_question = frozenset((task, metric.removesuffix(" (macro)")) for task, metric in primary)
    anchor = with_clusters(anchor, sides)
    figures = _figures(anchor, sides)
    # Where data or file do not make it, the mean over questions stands for what the task puts first.
    made = {key[:2] for key in figures}
    headlines = frozenset(
        (task, metric if (task, metric) in made else metric.removesuffix(" (macro)")) for task, metric in primary
    )
    scores = {}
    for key in dict.fromkeys(key for side in sides for key in side.values):
        cells = tuple(_score(key, side, headlines, _task(key, anchor)) for side in sides)
        if sum(cell is not None for cell in cells) > 1:
            scores[key] = cells
    for key, (figure, intervals) in figures.items():
        task, shown = _task(key, anchor), list[ScoreRow | None]()
        for one, side in zip(intervals, sides, strict=True):
            if one is None:
                shown.append(None)
                continue
            row = _row(key, one, headlines, side, share=figure.share and 0 <= one.mean <= 1)
            shown.append(_clustered(row, task, task.clusters_of(side.scored[key[0], key[2]])))
        scores[key] = tuple(shown)
    base = sides[0]
    gaps = {}
    for side in (side for side, named in zip(sides, given, strict=True) if is_file(named)):
        replied = [place for place in side.replies if not place[1] and anchor.choices.get(place) == ()]
        parted = [place for place in replied if side.replies[place] != anchor.replies[place]]
        if parted:
            cure = "" if model else "; --model FOLDER tells how near the likeliest tokens are where they part"
            told = f"{len(parted):,} of {len(replied):,} greedy replies differ from {anchor.name}'s"
            notes.append(f"{side.name}: {told}{cure}")
        if model is not None:
            gaps[side.name] = tuple(reply_gaps(model, parted, anchor, side))
    return Comparison(
        tuple(side.name for side in sides),
        scores,
        {side.name: (*_differences(base, side, anchor), *_weighted(base, side, anchor, figures)) for side in sides[1:]},
        {side.name: tuple(_flips(base, side, by_question)) for side in sides[1:]},
        headlines,
        notes=tuple(notes),
        reply_gaps=gaps,
        contamination={run.name: run.contaminations for run in runs},
    )


def with_clusters(anchor: Side, sides: Sequence[Side]) -> Side:
    """With the clusters that any run of ours names, whichever comes first: those of earlier versions name none."""
    tasks = dict(anchor.tasks)
    for side in sides:
        for name, of in side.tasks.items():
            ours = tasks.get(name, TaskFigures())
            ids = dict.fromkeys((*ours.clusters, *of.clusters))
            shared = shared_clusters(ours.clusters_of(ids), of.clusters_of(ids))
            by = ours.clustered_by or of.clustered_by
            tasks[name] = replace(ours, clusters=dict(zip(ids, shared, strict=True)), clustered_by=by)
    return replace(anchor, tasks=tasks)


def _task(key: Key, anchor: Side) -> TaskFigures:
    return anchor.tasks.get(key[0], TaskFigures())


def _score(key: Key, side: Side, headlines: frozenset[tuple[str, str]], task: TaskFigures) -> ScoreRow | None:
    values = side.values.get(key)
    if not values:
        return None
    share = all(0 <= value <= 1 for value in values.values())
    clusters = task.clusters_of(values)
    interval = mean_interval(list(values.values()), clusters=clusters)
    return _clustered(_row(key, interval, headlines, side, share=share), task, clusters)


def _clustered(row: ScoreRow, task: TaskFigures, clusters: Sequence[str]) -> ScoreRow:
    several = number_of(clusters)
    return row if several is None else replace(row, clusters=several, clustered_by=task.clustered_by)


def _row(key: Key, interval: Interval, headlines: frozenset[tuple[str, str]], side: Side, *, share: bool) -> ScoreRow:
    """Of a run of ours further what could not be judged, as it recorded it: then what it withheld is withheld."""
    row = ScoreRow(
        *key, interval.mean, interval.low, interval.high, interval.n, primary=key[:2] in headlines, share=share
    )
    known = side.recorded.get(key)
    if known is None or not known.unjudged:
        return row
    row = replace(row, unjudged=known.unjudged, lowest=known.lowest, highest=known.highest, of=known.of)
    if known.withheld or known.lowest is None:
        return replace(row, withheld=True, mean=None, low=None, high=None)
    return row


Figures = Mapping[Key, tuple[Figure, tuple[Interval | None, ...]]]


def _figures(anchor: Side, sides: Sequence[Side]) -> Figures:
    """Figures of our tasks that are no plain means, of each side that has what they are made of, if two have."""
    found = {}
    for task, temperature in anchor.scored:
        of_task = anchor.tasks.get(task, TaskFigures())
        for figure in of_task.figures:
            if is_mean(figure):
                continue
            each = [side.scored.get((task, temperature)) for side in sides]
            intervals = tuple(None if scored is None else interval_of(figure, of_task, scored) for scored in each)
            if sum(interval is not None for interval in intervals) > 1:
                found[task, figure.name, temperature] = figure, intervals
    return found


def _weighted(base: Side, side: Side, anchor: Side, figures: Figures) -> Iterator[Difference]:
    """Differences of figures whose questions weigh unlike, and alike on both sides; of a whole corpus there is none."""
    for key, (figure, _) in figures.items():
        before, after = (of_side.scored.get((key[0], key[2]), {}) for of_side in (base, side))
        old, new = values_of(figure, before), values_of(figure, after)
        ids = [id_ for id_ in new if id_ in old]
        if figure.corpus is not None or figure.shown is not None or not ids:
            continue
        weights = [weights_of(figure, anchor.tasks[key[0]], scored, ids) for scored in (before, after)]
        if weights[0] == weights[1]:
            pairs = [old[id_] for id_ in ids], [new[id_] for id_ in ids]
            yield _difference(key, (base, side), ids, pairs, weights=weights[0], task=_task(key, anchor))


def _differences(base: Side, side: Side, anchor: Side) -> Iterator[Difference]:
    for key, values in side.values.items():
        there = base.values.get(key, {})
        ids = [id_ for id_ in values if id_ in there]
        if ids:
            pairs = [there[id_] for id_ in ids], [values[id_] for id_ in ids]
            yield _difference(key, (base, side), ids, pairs, weights=None, task=_task(key, anchor))


def _difference(
    key: Key,
    sides: tuple[Side, Side],
    ids: Sequence[str],
    values: tuple[Sequence[float], Sequence[float]],
    *,
    weights: Weights | None,
    task: TaskFigures,
) -> Difference:
    (old, new), there = values, set(ids)
    unjudged = {place for side in sides for place in side.unjudged if place[:2] == (key[0], key[2])}
    left_out = sum(all(place in side.prompts for side in sides) for place in unjudged if place[2] not in there)
    lowest = highest = None
    if left_out and weights is None and all(0 <= value <= 1 for value in (*old, *new)):
        total, pairs = sum(new) - sum(old), len(ids) + left_out  # each that is left out may be anything from -1 to 1
        lowest, highest = (total - left_out) / pairs, (total + left_out) / pairs
    return paired_row(
        key,
        sides[0].name,
        values,
        task.clusters_of(ids),
        by=task.clustered_by,
        weights=weights,
        unjudged=left_out,
        bounds=(lowest, highest),
    )


def _flips(base: Side, side: Side, headlines: frozenset[tuple[str, str]]) -> Iterator[Flip]:
    changed = []
    for key, values in side.values.items():
        for id_, value in values.items():
            before = base.values.get(key, {}).get(id_, value)
            if key[:2] in headlines and before != value:
                place = (key[0], key[2], id_)
                replies = base.replies.get(place, ""), side.replies.get(place, "")
                prompt = base.prompts.get(place) or side.prompts.get(place, "")
                changed.append(Flip(key[0], id_, key[2], (before, value), (None, None), prompt, replies))
    yield from sorted(changed, key=lambda flip: flip.values[1] - flip.values[0])
