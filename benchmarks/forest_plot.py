"""Estimates with intervals as an SVG without a library: a line for each group, its mean thick, its members thin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

LEFT, WIDTH, TOP, ROW, BOTTOM = 120, 560, 40, 34, 34
MEMBER, MEAN = "#9db7d5", "#1f4f8b"


@dataclass(frozen=True)
class Interval:
    """An estimate between its bounds."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """A name, the mean of its members, and each of them."""

    name: str
    mean: Interval
    members: Sequence[Interval]


def draw(title: str, groups: Sequence[Group]) -> str:
    """An SVG with a row for each group, and a line at 0. The means decide the axis; what goes beyond is cut.

    >>> draw("gain", [Group("a", Interval(1.0, 0.5, 1.5), [Interval(1.0, 0.0, 2.0)])]).count("<circle")
    2
    """
    members = [member for group in groups for member in group.members]
    edges = [edge for member in members for edge in (member.low, member.high)] + [0.0]
    edges += [group.mean.mean for group in groups]
    step = _step(max(edges) - min(edges))
    low, high = step * floor(min(edges) / step), step * ceil(max(edges) / step)
    width, height = LEFT + WIDTH + 30, TOP + ROW * len(groups) + BOTTOM

    def place(value: float) -> float:
        return LEFT + WIDTH * (min(max(value, low), high) - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="11" role="img">',
        f"<title>{title}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="12" y="20" font-size="13" fill="#222">{title}</text>',
    ]
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        colour = "#888" if abs(value) < step / 2 else "#e2e2e2"
        x, bottom = place(value), TOP + ROW * len(groups)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" fill="#555">{value:+g}</text>')
    for number, group in enumerate(groups):
        y = TOP + ROW * number + ROW / 2
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end" fill="#222">{group.name}</text>')
        for place_of, member in enumerate(group.members):
            parts += _bar(y - 11 + 5 * place_of, member, place, MEMBER, 1.2, 2)
        parts += _bar(y + 10, group.mean, place, MEAN, 2.4, 4)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(
    y: float, shown: Interval, place: Callable[[float], float], colour: str, thick: float, radius: float
) -> list[str]:
    low, mean, high = (place(value) for value in (shown.low, shown.mean, shown.high))
    return [
        f'<line x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="{thick}"/>',
        f'<circle cx="{mean:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>',
    ]


def _step(span: float) -> float:
    """About six steps of 1, 2 or 5 times a power of ten."""
    rough = span / 6
    power: float = 10.0 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
