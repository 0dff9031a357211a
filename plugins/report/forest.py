"""Interval charts: rows of mean and 95 % interval on one shared axis, in per cent of the chart's width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aftertrain.plugins.report.chart import Tick
from aftertrain.plugins.report.numbers import nice_ticks, number


@dataclass(frozen=True, slots=True)
class Row:
    """One estimate as it is shown.

    Attributes:
        label: what was measured.
        detail: a second, smaller line of the label.
        tone: CSS class of its colour.
        mean, low, high: the estimate and its interval, in axis units; of a forest's rows in per cent of the axis. Of
            an estimate that is withheld there is no mean, and its bounds, if any, are in place of the interval.
        value, interval, n: the same, written.
        verdict: words beside it (`a rise`), may be empty.
        note: more about the interval (flips and p-value), may be empty.
    """

    label: str
    detail: str
    tone: str
    mean: float | None
    low: float | None
    high: float | None
    value: str
    interval: str
    n: str
    verdict: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Forest:
    """Rows on one axis. `zero` is the position of the line of no difference, None when there is none."""

    title: str
    unit: str
    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    zero: float | None


def forest(title: str, unit: str, rows: Sequence[Row], *, bounds: tuple[float, float] | None, zero: bool) -> Forest:
    """Place `rows` on an axis.

    Args:
        unit: unit of the axis, for its caption.
        bounds: ends of the axis when the quantity has them (0 and 100 %), else None: the data's own range.
        zero: the axis must contain 0 and mark it (differences).
    """
    low, high = bounds or _range(rows, zero)

    def place(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 2)

    def place_or_none(value: float | None) -> float | None:
        return None if value is None else place(value)

    placed = tuple(
        replace(row, mean=place_or_none(row.mean), low=place_or_none(row.low), high=place_or_none(row.high))
        for row in rows
    )
    ticks = tuple(Tick(place(value), number(value)) for value in nice_ticks(low, high, 5))
    return Forest(title, unit, placed, ticks, place(0.0) if zero else None)


def _range(rows: Sequence[Row], zero: bool) -> tuple[float, float]:
    known = [edge for row in rows for edge in (row.low, row.high, row.mean) if edge is not None]
    edges = known + ([0.0] if zero or not known else [])
    low, high = min(edges), max(edges)
    pad = 0.08 * (high - low) or abs(low) * 0.1 or 1.0
    return low - pad, high + pad
