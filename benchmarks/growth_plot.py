"""Curves over sizes that double, as an SVG without a library: panels side by side, values from 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

WIDTH, HEIGHT, LEFT, TOP, GAP = 300, 190, 62, 34, 44
COLOURS = ("#1f6feb", "#d97706")


@dataclass(frozen=True)
class Curve:
    """A name and a value for each size."""

    name: str
    values: Sequence[float]


def draw(sizes: Sequence[int], axis: str, panels: Sequence[tuple[str, Sequence[Curve]]]) -> str:
    """An SVG with a panel for each title and its curves; the first panel names them.

    >>> draw([1, 2], "size", [("rate", [Curve("ours", [1.0, 2.0])])]).count("<polyline")
    1
    """
    width = len(panels) * (LEFT + WIDTH) + GAP
    height = TOP + HEIGHT + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="11" role="img">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, (title, curves) in enumerate(panels):
        left = LEFT + number * (WIDTH + LEFT)
        parts += _panel(left, sizes, axis, title, curves)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(left: int, sizes: Sequence[int], axis: str, title: str, curves: Sequence[Curve]) -> list[str]:
    top = _round_up(max(value for curve in curves for value in curve.values))
    step = WIDTH / max(1, len(sizes) - 1)
    bottom = TOP + HEIGHT
    parts = [f'<text x="{left}" y="{TOP - 16}" font-size="13" fill="#222">{title}</text>']
    for quarter in range(5):
        y = bottom - HEIGHT * quarter / 4
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + WIDTH}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(left - 6, y + 4, f"{top * quarter / 4:,.0f}", "end"))
    parts += [_text(left + i * step, bottom + 16, str(size), "middle") for i, size in enumerate(sizes)]
    parts.append(_text(left + WIDTH / 2, bottom + 34, axis, "middle"))
    for curve, colour in zip(curves, COLOURS, strict=False):
        points = [(left + i * step, bottom - HEIGHT * value / top) for i, value in enumerate(curve.values)]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        x, y = points[-1]
        parts.append(f'<text x="{x - 6:.1f}" y="{y - 7:.1f}" text-anchor="end" fill="{colour}">{curve.name}</text>')
    return parts


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#555">{words}</text>'


def _round_up(value: float) -> float:
    """The next of 1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8 times a power of ten."""
    power = 10.0 ** floor(log10(value))
    for factor in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8):
        if value <= factor * power:
            return factor * power
    return float(10 ** ceil(log10(value)))
