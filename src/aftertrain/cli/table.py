"""Aligned columns of text, light enough for `aftertrain list`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from aftertrain.core.ground.cleaning import printable

if TYPE_CHECKING:
    from aftertrain.core.events import ScoreRow

WITHHELD = "withheld"
"""In place of a score of which too much could not be judged."""


def echo_table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print rows with aligned columns; the last column wraps at the terminal's width when there is a terminal."""
    every = [[printable(cell, sys.stdout.encoding) for cell in row] for row in (*([header] if header else []), *rows)]
    if not every:
        return
    widths = [max(len(row[i]) for row in every) for i in range(len(every[0]) - 1)]
    indent = sum(width + 2 for width in widths)
    room = max(30, shutil.get_terminal_size((100, 24)).columns - indent) if sys.stdout.isatty() else 0
    for number, row in enumerate(every):
        lines = (textwrap.wrap(row[-1], room) if room else [row[-1]]) or [""]
        first = "".join(f"{cell:<{width + 2}}" for cell, width in zip(row, widths, strict=False))
        text = (first + f"\n{' ' * indent}".join(lines)).rstrip()
        click.echo(click.style(text, bold=True) if header and number == 0 else text)


def score_text(value: float, *, share: bool, signed: bool = False) -> str:
    """A score: in per cent where it is a share, else as it is.

    >>> score_text(0.3155, share=True), score_text(2.3155, share=False), score_text(0.02, share=True, signed=True)
    ('31.6', '2.316', '+2.0')
    """
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}" if share else f"{value:{sign}.4g}"


def interval_text(low: float, high: float, *, share: bool, signed: bool = False) -> str:
    """An interval, as `score_text` writes its ends.

    >>> interval_text(0.25, 0.5, share=True)
    '25.0 to 50.0'
    """
    return " to ".join(score_text(value, share=share, signed=signed) for value in (low, high))


def mean_text(row: ScoreRow) -> str:
    """A score's mean, or that it is withheld, with what it lies between."""
    if row.interval is not None:
        return score_text(row.interval.mean, share=row.share is not False)
    if row.lowest is None or row.highest is None:
        return WITHHELD
    return f"{WITHHELD} ({interval_text(row.lowest, row.highest, share=row.share is not False)})"


def echo_safely(text: str) -> None:
    """Print a line of which others wrote a part: nothing in it commands the terminal, and any terminal takes it."""
    click.echo(printable(text, sys.stdout.encoding))
