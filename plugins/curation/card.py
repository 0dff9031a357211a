"""What the data card beside the shards says of the rows that were left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.rows.funnel import Funnel
from aftertrain.core.rows.left_out import examples, read_left_out
from aftertrain.core.rows.shelf import cell

EXAMPLES = 2
"""Rows shown of what an operator left out for one reason."""


def told(funnel: Funnel, folder: Path) -> Iterator[str]:
    """Lines of Markdown: the funnel, and examples."""
    yield from _funnel(funnel)
    yield from _figures(funnel)
    yield from _examples(folder)


def _funnel(funnel: Funnel) -> Iterator[str]:
    yield "## What was left out"
    yield ""
    yield "| operator | rows in | left out | changed | made | reasons |"
    yield "|---|---|---|---|---|---|"
    bad = ", ".join(f"{reason} {count:,}" for reason, count in funnel.bad.items())
    yield f"| source | {funnel.read + sum(funnel.bad.values()):,} | {sum(funnel.bad.values()):,} | 0 | 0 | {bad} |"
    for name, passage in funnel.passages.items():
        reasons = ", ".join(f"{reason} {sum(counts.values()):,}" for reason, counts in passage.dropped.items())
        came, changed, made = (sum(counts.values()) for counts in (passage.came, passage.changed, passage.made))
        yield f"| {name} | {came:,} | {passage.left_out:,} | {changed:,} | {made:,} | {reasons} |"
    yield ""


def _figures(funnel: Funnel) -> Iterator[str]:
    found = {name: passage.figures for name, passage in funnel.passages.items() if passage.figures}
    if not found:
        return
    yield "## What was found of all rows"
    yield ""
    yield "| operator | figure | value |"
    yield "|---|---|---|"
    for name, figures in found.items():
        for figure, value in figures.items():
            yield f"| {name} | {figure} | {cell(f'{value:.6g}' if isinstance(value, float) else str(value))} |"
    yield ""


def _examples(folder: Path) -> Iterator[str]:
    for (operator, reason), some in examples(read_left_out(folder), EXAMPLES).items():
        yield f"### {operator}: {reason}"
        yield ""
        for left in some:
            yield f"- `{left.id}` {cell(json_text(dict(left.evidence)))}"
        yield ""
