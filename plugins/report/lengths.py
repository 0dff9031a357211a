"""The rows that a stage trained on: a histogram of their lengths, how well they pack, and where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aftertrain.core import events
from aftertrain.core.events import RowsTrained, SourceRows
from aftertrain.plugins.report.chart import BOTTOM, LEFT, RIGHT, TOP, Tick
from aftertrain.plugins.report.numbers import count, counted, nice_ticks, number, percent


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar in view-box units, and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """Segments by length in tokens."""

    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Lengths:
    """All that the template shows of a stage's rows.

    Attributes:
        facts: (label, value) pairs.
        sources: what each data set gave; empty where there is only one.
        tokens: of all of them.
    """

    facts: list[tuple[str, str]]
    histogram: Histogram | None
    sources: Mapping[str, SourceRows]
    tokens: int


def lengths(rows: RowsTrained | None) -> Lengths | None:
    """Of the rows that a stage trained on; None where it recorded none."""
    if rows is None or not rows.tokens:
        return None
    facts = [
        ("rows", f"{count(rows.kept)} of {count(rows.rows)} kept"),
        ("tokens an epoch", count(rows.tokens)),
        ("of them learnt", f"{count(rows.targets)} ({percent(rows.targets / rows.tokens)})"),
    ]
    if packing := rows.packing:
        micro = counted(packing.micro_batches, "micro-batch", "micro-batches")
        of = f"{micro} of {counted(packing.budget, 'token')}"
        facts.append(("packing", f"{percent(packing.filled)} of {of} filled, no padding"))
        facts.append(("padded instead", f"{percent(packing.padding)} of all positions would be padding"))
    histogram = _histogram(rows.lengths) if rows.lengths else None
    return Lengths(facts, histogram, rows.sources if len(rows.sources) > 1 else {}, rows.tokens)


def _histogram(lengths: events.Lengths) -> Histogram | None:
    counts, width = lengths.counts, lengths.width
    if not any(counts) or not width:
        return None
    most, last = max(counts), width * len(counts)
    step = (RIGHT - LEFT) / len(counts)

    def height(value: float) -> float:
        return round((BOTTOM - TOP) * value / most, 1)

    bars = tuple(
        Bar(
            round(LEFT + i * step + 0.5, 1),
            round(BOTTOM - height(n), 1),
            round(max(step - 1, 0.5), 1),
            height(n),
            f"{count(i * width)} to {count((i + 1) * width - 1)} tokens: {count(n)}",
        )
        for i, n in enumerate(counts)
        if n
    )
    x_ticks = tuple(Tick(round(LEFT + (RIGHT - LEFT) * x / last, 1), count(x)) for x in nice_ticks(0, last, 5))
    whole = [y for y in nice_ticks(0, most, 4) if y == int(y)]
    y_ticks = tuple(Tick(round(BOTTOM - height(y), 1), count(y)) for y in whole)
    return Histogram(bars, x_ticks, y_ticks, _summary(lengths))


def _summary(lengths: events.Lengths) -> str:
    figures = (
        ("least", lengths.least),
        ("median", lengths.median),
        ("mean", lengths.mean),
        ("95 % within", lengths.p95),
        ("greatest", lengths.greatest),
    )
    words = ", ".join(f"{label} {number(float(value), 4)}" for label, value in figures)
    return f"{counted(sum(lengths.counts), 'segment')}; tokens: {words}."
