"""Runs of ours beside another evaluator's results, where it is proved that it asked what our run asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aftertrain.api.comparison import Comparison
from aftertrain.api.finished import finished_evaluation
from aftertrain.api.foreign_sides import foreign_side, is_file
from aftertrain.api.reply_gaps import reply_gaps
from aftertrain.api.sides import Key, Side, like_side, own_side
from aftertrain.core.errors import RunError
from aftertrain.core.events import Difference, ScoreRow
from aftertrain.core.stage import Flip
from aftertrain.core.statistics import mean_interval, paired_difference, paired_p


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
    # By question there is the mean over questions alone, whatever the task puts first.
    headlines = frozenset(
        (row.task, row.metric.removesuffix(" (macro)")) for run in runs for row in run.scores if row.primary
    )
    scores = {}
    for key in dict.fromkeys(key for side in sides for key in side.values):
        cells = tuple(_score(key, side, headlines) for side in sides)
        if sum(cell is not None for cell in cells) > 1:
            scores[key] = cells
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
        {side.name: tuple(_differences(base, side)) for side in sides[1:]},
        {side.name: tuple(_flips(base, side, headlines)) for side in sides[1:]},
        headlines,
        notes=tuple(notes),
        reply_gaps=gaps,
    )


def _score(key: Key, side: Side, headlines: frozenset[tuple[str, str]]) -> ScoreRow | None:
    values = side.values.get(key)
    if not values:
        return None
    interval = mean_interval(list(values.values()))
    share = all(0 <= value <= 1 for value in values.values())
    primary = key[:2] in headlines
    return ScoreRow(*key, interval.mean, interval.low, interval.high, interval.n, primary=primary, share=share)


def _differences(base: Side, side: Side) -> Iterator[Difference]:
    for key, values in side.values.items():
        there = base.values.get(key, {})
        ids = [id_ for id_ in values if id_ in there]
        if ids:
            old, new = [there[id_] for id_ in ids], [values[id_] for id_ in ids]
            interval = paired_difference(old, new)
            better = sum(b > a for a, b in zip(old, new, strict=True))
            worse = sum(b < a for a, b in zip(old, new, strict=True))
            yield Difference(
                *key,
                against=base.name,
                mean=interval.mean,
                low=interval.low,
                high=interval.high,
                n=interval.n,
                better=better,
                worse=worse,
                p=paired_p(old, new),
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
