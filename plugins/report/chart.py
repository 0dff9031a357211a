"""Line and area charts: from values by step to the geometry that `charts.svg.j2` draws.

Everything is computed here, in a view box of WIDTH x HEIGHT units, so that a page needs no script to show a chart. Long
series are drawn as means of consecutive steps with a band from least to greatest; the caption says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aftertrain.plugins.report.numbers import count, counted, nice_ticks, number, percent

WIDTH, HEIGHT = 360.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, WIDTH - 12.0, 10.0, HEIGHT - 26.0
"""The view box, and where the axes stand in it."""
BOX = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
"""The same for the template."""
MOST_POINTS = 120


@dataclass(frozen=True, slots=True)
class Series:
    """Finite values by step.

    Attributes:
        not_finite: how many values were NaN or infinite and are left out.
        interval: (low, high) around each value; empty where there is none.
    """

    label: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    not_finite: int = 0
    interval: tuple[tuple[float, float], ...] = ()

    @property
    def recent(self) -> float:
        """Mean of the last ten."""
        last = self.values[-10:]
        return sum(last) / len(last)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: position in view-box units (or per cent of the width, in a forest chart) and its text."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """One series on a chart: SVG path data, and the last point for its dot.

    Attributes:
        tone: index of the series' colour.
        band: path of the band from least to greatest (or of the filled area); empty when there is none.
    """

    label: str
    tone: int
    path: str
    band: str
    last: tuple[float, float]
    last_text: str


@dataclass(frozen=True, slots=True)
class LineChart:
    """What the template draws."""

    title: str
    unit: str
    summary: str
    note: str
    lines: list[Drawn]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    hover: str
    stacked: bool


@dataclass(frozen=True, slots=True)
class _Bucket:
    step: float
    first: int
    last: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Scale:
    """Linear map from data to view-box units."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return round(self.start + share * (self.end - self.start), 1)


def line_chart(title: str, unit: str, series: Sequence[Series], *, from_zero: bool = False) -> LineChart:
    """A chart of one or more series over the same steps.

    Args:
        title: what is shown.
        unit: unit of the values; `%` means that the values are fractions.
        series: at least one, each with at least one point.
        from_zero: the value axis starts at 0 (shares, times, speeds).
    """
    buckets = [_buckets(curve) for curve in series]
    values = [edge for line in buckets for bucket in line for edge in (bucket.low, bucket.high)]
    x, y = _x_scale(series), _y_scale(values, from_zero, unit)
    write = writer(unit)
    drawn = []
    for index, (curve, line) in enumerate(zip(series, buckets, strict=True)):
        path = _path([(x(bucket.step), y(bucket.mean)) for bucket in line])
        wide = any(bucket.low != bucket.high for bucket in line)
        band = _area([(x(b.step), y(b.high)) for b in line], [(x(b.step), y(b.low)) for b in line]) if wide else ""
        end = line[-1]
        drawn.append(Drawn(curve.label, index, path, band, (x(end.step), y(end.mean)), write(curve.values[-1])))
    return _chart(title, unit, series, drawn, x, y)


def stacked_chart(title: str, unit: str, series: Sequence[Series]) -> LineChart:
    """Areas stacked on one another, for parts of a whole that share their steps (time of a step by activity)."""
    buckets = [_buckets(curve) for curve in series]
    totals = [sum(line[index].mean for line in buckets) for index in range(len(buckets[0]))]
    x, y = _x_scale(series), _y_scale([0.0, *totals], True, unit)
    write = writer(unit)
    floor = [0.0] * len(totals)
    drawn = []
    for index, (curve, line) in enumerate(zip(series, buckets, strict=True)):
        roof = [below + bucket.mean for below, bucket in zip(floor, line, strict=True)]
        upper = [(x(bucket.step), y(value)) for bucket, value in zip(line, roof, strict=True)]
        lower = [(x(bucket.step), y(value)) for bucket, value in zip(line, floor, strict=True)]
        mean = sum(curve.values) / len(curve.values)
        drawn.append(Drawn(curve.label, index, _path(upper), _area(upper, lower), upper[-1], f"{write(mean)} mean"))
        floor = roof
    return _chart(title, unit, series, drawn, x, y, stacked=True)


def _chart(  # noqa: PLR0917
    title: str, unit: str, series: Sequence[Series], drawn: list[Drawn], x: _Scale, y: _Scale, *, stacked: bool = False
) -> LineChart:
    write = writer(unit)
    return LineChart(
        title=title,
        unit=unit,
        summary=" ".join(_describe(curve, write, unit, alone=len(series) == 1) for curve in series),
        note=_note(series),
        lines=drawn,
        x_ticks=_x_ticks(x),
        y_ticks=_y_ticks(y, unit),
        hover=_hover(x, series, write),
        stacked=stacked,
    )


def writer(unit: str) -> Callable[[float], str]:
    """How values of a unit are written."""
    return percent if unit == "%" else number


def _buckets(series: Series) -> list[_Bucket]:
    size = math.ceil(len(series.steps) / MOST_POINTS)
    result = []
    for start in range(0, len(series.steps), size):
        steps, values = series.steps[start : start + size], series.values[start : start + size]
        mean = sum(values) / len(values)
        ends = [*values, *(end for ends in series.interval[start : start + size] for end in ends)]
        result.append(_Bucket(sum(steps) / len(steps), steps[0], steps[-1], mean, min(ends), max(ends)))
    return result


def _x_scale(series: Sequence[Series]) -> _Scale:
    steps = [step for curve in series for step in (curve.steps[0], curve.steps[-1])]
    return _Scale(min(steps), max(steps), LEFT, RIGHT)


def _y_scale(values: Sequence[float], from_zero: bool, unit: str) -> _Scale:
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(0.0, low), max(0.0, high)
    if low == high:
        pad = abs(low) * 0.5 or 1.0
        low, high = (0.0, 2 * pad) if from_zero else (low - pad, high + pad)
    else:
        pad = 0.06 * (high - low)
        # A quantity that is never negative gets no negative axis from mere padding.
        low = low if from_zero else (max(0.0, low - pad) if low >= 0 else low - pad)
        high += pad
    return _Scale(low, min(high, 1.0) if unit == "%" and max(values) <= 1.0 else high, BOTTOM, TOP)


def _x_ticks(x: _Scale) -> tuple[Tick, ...]:
    low, high = int(x.low), int(x.high)
    inner = [value for value in nice_ticks(low, high, 4) if value == int(value)]
    near = 0.12 * (high - low)
    values = [low, *(value for value in inner if value - low > 2 * near and high - value > near), high]
    return tuple(Tick(x(value), count(value)) for value in dict.fromkeys(values))


def _y_ticks(y: _Scale, unit: str) -> tuple[Tick, ...]:
    values = nice_ticks(y.low, y.high, 4)
    if unit == "%":
        whole = all(abs(100 * value - round(100 * value)) < 1e-9 for value in values)
        return tuple(Tick(y(value), f"{100 * value:.0f}" if whole else number(100 * value)) for value in values)
    return tuple(Tick(y(value), number(value)) for value in values)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{px:g} {py:g}" for px, py in points)


def _area(upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]]) -> str:
    return _path([*upper, *reversed(lower)]) + "Z"


def _hover(x: _Scale, series: Sequence[Series], write: Callable[[float], str]) -> str:
    """JSON for the script that shows values under the pointer: per series, positions, steps and written values."""
    data = [
        {
            "name": curve.label,
            "x": [x(bucket.step) for bucket in buckets],
            "step": [str(b.first) if b.first == b.last else f"{b.first}–{b.last}" for b in buckets],
            "value": [write(bucket.mean) for bucket in buckets],
        }
        for curve, buckets in ((curve, _buckets(curve)) for curve in series)
    ]
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _describe(series: Series, write: Callable[[float], str], unit: str, *, alone: bool) -> str:
    values, steps = series.values, series.steps
    suffix = "" if unit in ("", "%") else f" {unit}"
    name = "" if alone else f"{series.label}: "
    if len(values) == 1:
        return f"{name}{write(values[0])}{suffix} at step {steps[0]}, the only value."
    low, high = min(values), max(values)
    return (
        f"{name}from {write(values[0])} at step {steps[0]} to {write(values[-1])} at step {steps[-1]}{suffix}; "
        f"least {write(low)} at step {steps[values.index(low)]}, greatest {write(high)} at step "
        f"{steps[values.index(high)]}; n = {len(values)}."
    )


def _note(series: Sequence[Series]) -> str:
    notes = []
    size = max(math.ceil(len(curve.steps) / MOST_POINTS) for curve in series)
    if size > 1:
        notes.append(f"Each point is the mean of {size} values; the band runs from least to greatest.")
    elif any(curve.interval for curve in series):
        notes.append("The band is the 95 % interval.")
    lost = sum(curve.not_finite for curve in series)
    if lost:
        notes.append(f"Not drawn, because not finite: {counted(lost, 'value')}.")
    return " ".join(notes)
