"""The rows that a stage trained on: a histogram of their lengths, how well they pack, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aftertrain.plugins.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Tick
from aftertrain.plugins.report.intake import mapping, sequence
from aftertrain.plugins.report.numbers import count, nice_ticks, number, percent


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
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    bottom: float = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True)
class Source:
    """What one data set gave."""

    name: str
    atoms: str
    tokens: str
    targets: str
    share: str


@dataclass(frozen=True, slots=True)
class Lengths:
    """All that the template shows of a stage's rows.

    Attributes:
        facts: (label, value) pairs.
        sources: one row a data set; empty where there is only one.
    """

    facts: tuple[tuple[str, str], ...]
    histogram: Histogram | None
    sources: tuple[Source, ...]


def lengths(data: dict[str, Any]) -> Lengths | None:
    """From the data of an event `rows`; None where the stage recorded none."""
    tokens, targets = _whole(data, "tokens"), _whole(data, "targets")
    if not tokens:
        return None
    facts = [
        ("rows", f"{count(_whole(data, 'kept'))} of {count(_whole(data, 'rows'))} kept"),
        ("tokens an epoch", count(tokens)),
        ("of them learnt", f"{count(targets)} ({percent(targets / tokens)})"),
    ]
    packing = mapping(data.get("packing"))
    filled, padding = packing.get("filled"), packing.get("padding")
    if isinstance(filled, float) and isinstance(padding, float):
        of = f"{count(_whole(packing, 'micro_batches'))} micro-batches of {count(_whole(packing, 'budget'))} tokens"
        facts.append(("packing", f"{percent(filled)} of {of} filled, no padding"))
        facts.append(("padded instead", f"{percent(padding)} of all positions would be padding"))
    return Lengths(
        tuple(facts), _histogram(mapping(data.get("lengths"))), _sources(mapping(data.get("sources")), tokens)
    )


def _whole(data: dict[str, Any], name: str) -> int:
    value = data.get(name)
    return value if isinstance(value, int) else 0


def _histogram(data: dict[str, Any]) -> Histogram | None:
    counts, width = [n for n in sequence(data.get("counts")) if isinstance(n, int)], _whole(data, "width")
    if not any(counts) or not width:
        return None
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    most, last = max(counts), width * len(counts)
    step = (right - LEFT) / len(counts)

    def height(value: float) -> float:
        return round((bottom - TOP) * value / most, 1)

    bars = tuple(
        Bar(
            round(LEFT + i * step + 0.5, 1),
            round(bottom - height(n), 1),
            round(max(step - 1, 0.5), 1),
            height(n),
            f"{count(i * width)} to {count((i + 1) * width - 1)} tokens: {count(n)}",
        )
        for i, n in enumerate(counts)
        if n
    )
    x_ticks = tuple(Tick(round(LEFT + (right - LEFT) * x / last, 1), count(x)) for x in nice_ticks(0, last, 5))
    whole = [y for y in nice_ticks(0, most, 4) if y == int(y)]
    y_ticks = tuple(Tick(round(bottom - height(y), 1), count(y)) for y in whole)
    return Histogram(bars, x_ticks, y_ticks, _summary(data, sum(counts)))


def _summary(data: dict[str, Any], n: int) -> str:
    words = [f"{label} {number(float(data[name]), 4)}" for name, label in _NAMES.items() if name in data]
    return f"{count(n)} segments; tokens: {', '.join(words)}."


_NAMES = {"least": "least", "median": "median", "mean": "mean", "p95": "95 % within", "greatest": "greatest"}


def _sources(data: dict[str, Any], tokens: int) -> tuple[Source, ...]:
    rows = [(str(name), mapping(value)) for name, value in data.items()]
    if len(rows) < 2:
        return ()
    return tuple(
        Source(
            name,
            atoms=count(_whole(value, "atoms")),
            tokens=count(_whole(value, "tokens")),
            targets=count(_whole(value, "targets")),
            share=percent(_whole(value, "tokens") / tokens),
        )
        for name, value in rows
    )
