"""What stages of rows did: the funnel from rows in to rows out, by operator and source, how facts lie, and examples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.rows.folder import NAME, read_contents
from aftertrain.core.rows.funnel import Funnel, Spread, read_funnel
from aftertrain.core.rows.left_out import SOURCE, LeftOut, examples, read_left_out
from aftertrain.plugins.report.chart import BOTTOM, LEFT, RIGHT, TOP, Tick
from aftertrain.plugins.report.facts import Stage
from aftertrain.plugins.report.lengths import Bar
from aftertrain.plugins.report.numbers import count, nice_ticks, number

EXAMPLES = 3
"""Rows shown of those that an operator left out for one reason."""
HISTOGRAMS = 24
BINS = 32
WIDE = 20.0
"""Of values from 0 on: where the greatest is so many times the median, bins are equal in the logarithm."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of the funnel, or the source; shares are of the rows that were read."""

    name: str
    came: int
    left_out: int
    changed: int
    made: int
    out: int
    share: float
    reasons: Sequence[tuple[str, int]]
    figures: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """One data set: its rows before and after, and their shares of all."""

    name: str
    came: int
    out: int
    share_before: float
    share_after: float


@dataclass(frozen=True, slots=True)
class Fact:
    """The histogram of a numeric fact, in view-box units; what was left out stands on what was kept.

    The axis is that of the rows: of all `bounds`, in words, those between the rows are `drawn`.
    """

    name: str
    kept: tuple[Bar, ...]
    left_out: tuple[Bar, ...]
    bounds: tuple[str, ...]
    drawn: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Curated:
    """What the template shows of one stage."""

    stage: str
    use: str
    rows: int
    record: str
    funnel: Funnel
    steps: Sequence[Step]
    sources: Sequence[Source]
    licenses: Mapping[str, int]
    facts: Sequence[Fact]
    examples: Sequence[tuple[str, str, Sequence[tuple[LeftOut, str]]]]


def curated(stage: Stage) -> Curated | None:
    """Of a stage that made rows and kept an account of them; None of others.

    Raises:
        DataError: a file of it is damaged.
    """
    if stage.artifact is None or stage.artifact.type != "data" or stage.folder is None:
        return None
    folder = stage.folder / stage.artifact.path
    if not (folder / NAME).is_file() or (funnel := read_funnel(folder)) is None:
        return None
    contents = read_contents(folder)
    facts = (_fact(name, spread) for name, spread in funnel.facts.items())
    drawn = [fact for fact in facts if fact is not None]
    drawn.sort(key=lambda fact: not fact.bounds)
    return Curated(
        stage.name,
        stage.use,
        contents.rows,
        contents.record,
        funnel,
        _steps(funnel),
        _sources(funnel, contents.sources),
        contents.licenses,
        drawn[:HISTOGRAMS],
        _examples(read_left_out(folder)),
    )


def _steps(funnel: Funnel) -> list[Step]:
    bad = sum(funnel.bad.values())
    read = funnel.read + bad
    steps = [Step(SOURCE, read, bad, 0, 0, funnel.read, funnel.read / max(1, read), list(funnel.bad.items()))]
    for name, passage in funnel.passages.items():
        came, kept, changed, made = (
            sum(part.values()) for part in (passage.came, passage.kept, passage.changed, passage.made)
        )
        reasons = [(reason, sum(by_source.values())) for reason, by_source in passage.dropped.items()]
        out = kept + made
        steps.append(
            Step(name, came, passage.left_out, changed, made, out, out / max(1, read), reasons, passage.figures)
        )
    return steps


def _sources(funnel: Funnel, after: Mapping[str, int]) -> list[Source]:
    first = next(iter(funnel.passages.values()), None)
    before = dict(after) if first is None else first.came
    names = sorted({*before, *after}, key=lambda name: (-before.get(name, 0), name))
    all_before, all_after = max(1, sum(before.values())), max(1, sum(after.values()))
    return [
        Source(name, came, out, came / all_before, out / all_after)
        for name in names
        for came, out in [(before.get(name, 0), after.get(name, 0))]
    ]


def _examples(rows: Iterable[LeftOut]) -> list[tuple[str, str, list[tuple[LeftOut, str]]]]:
    return [
        (operator, reason, [(left, json_text(dict(left.evidence))) for left in some])
        for (operator, reason), some in examples(rows, EXAMPLES).items()
    ]


def _fact(name: str, spread: Spread) -> Fact | None:
    """None where all values, and all bounds, are one."""
    kept, left_out = (_values(part) for part in (spread.kept, spread.left_out))
    values = sorted({*kept, *left_out})
    if len(values) < 2:  # one bar, and where it stands to the bounds
        values = sorted({*values, *spread.bounds})
    if len(values) < 2:
        return None
    rows = sorted((value, n) for part in (kept, left_out) for value, n in part.items())
    scaled = values[0] >= 0 and values[-1] > WIDE * max(_median(rows), 1.0)
    low, high = _scale(values[0], scaled), _scale(values[-1], scaled)
    bins = [[0, 0] for _ in range(BINS)]
    for place, part in enumerate((kept, left_out)):
        for value, n in part.items():
            bins[min(BINS - 1, int(BINS * (_scale(value, scaled) - low) / (high - low)))][place] += n
    most = max(map(sum, bins))
    step = (RIGHT - LEFT) / BINS

    def height(rows: int) -> float:
        return round((BOTTOM - TOP) * rows / most, 1)

    def across(value: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * (_scale(value, scaled) - low) / (high - low), 1)

    def bar(place: int, below: int, rows: int, what: str) -> Bar:
        start, end = (_unscale(low + (high - low) * i / BINS, scaled) for i in (place, place + 1))
        title = f"{number(start)} to {number(end)}: {count(rows)} {what}"
        x, width = round(LEFT + place * step + 0.5, 1), round(max(step - 1, 0.5), 1)
        return Bar(x, round(BOTTOM - height(below) - height(rows), 1), width, height(rows), title)

    ticks = (
        [value for value in (0, 1, 10, 100, 1e3, 1e4, 1e5, 1e6) if values[0] <= value <= values[-1]] if scaled else []
    )
    ticks = ticks or nice_ticks(values[0], values[-1], 5)
    total, out = sum(map(sum, bins)), sum(left_out.values())
    words = f"{count(total)} rows from {number(rows[0][0])} to {number(rows[-1][0])}, median {number(_median(rows))}"
    return Fact(
        name,
        tuple(bar(i, 0, inside, "kept") for i, (inside, _) in enumerate(bins) if inside),
        tuple(bar(i, inside, outside, "left out") for i, (inside, outside) in enumerate(bins) if outside),
        tuple(number(bound) for bound in spread.bounds),
        tuple(Tick(across(bound), number(bound)) for bound in spread.bounds if values[0] <= bound <= values[-1]),
        tuple(Tick(across(value), number(value)) for value in ticks),
        tuple(Tick(round(BOTTOM - height(round(n)), 1), count(n)) for n in nice_ticks(0, most, 3) if n == round(n)),
        f"{words}; {count(out)} of them were left out." if out else f"{words}.",
    )


def _values(part: Mapping[str, int]) -> dict[float, int]:
    return {float(value): n for value, n in part.items()}


def _scale(value: float, scaled: bool) -> float:
    return math.log1p(value) if scaled else value


def _unscale(value: float, scaled: bool) -> float:
    return math.expm1(value) if scaled else value


def _median(rows: Sequence[tuple[float, int]]) -> float:
    half, seen = sum(n for _, n in rows) / 2, 0
    for value, n in rows:
        seen += n
        if seen >= half:
            return value
    return 0.0
