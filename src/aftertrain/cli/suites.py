"""Suites of evaluation tasks as tables: `aftertrain list suite`, and one of them for `aftertrain show`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aftertrain.cli.table import echo_table
from aftertrain.registry.discovery import installed

if TYPE_CHECKING:
    from aftertrain.core.benchmark.outline import Node, RowOutline


WORDS = {
    "mean": "mean of",
    "weighted": "weighted mean (F48) of",
    "pooled": "mean over all questions of",
    "listed": "no number of",
    "best": "best of",
    "sum": "sum of",
}
"""What each rule of a node is called."""


def suite_lines() -> list[tuple[str, str]]:
    """Name and summary of each suite."""
    suites = installed().suites.values()
    ordered = sorted(suites, key=lambda entry: (not entry.origin.built_in, entry.name))
    return [
        (f"  {entry.name}", entry.summary + ("" if entry.origin.built_in else f" [{entry.origin}]"))
        for entry in ordered
    ]


def echo_suite_file(name: str) -> None:
    """Print what a suite holds: its rows with their tasks, how they make one number, and whose scores are published."""
    from aftertrain.registry.resolve import SettingsResolver
    from aftertrain.registry.suites import Suites

    registry = installed()
    suite = Suites(registry, Path.cwd(), SettingsResolver(registry, Path.cwd()).context).read(name)
    entry = registry.suites[name]
    click.echo(click.style(f"suite {name}", bold=True) + f": {suite.summary or entry.summary}\n")
    echo_table(
        [
            ("plugin", f"{entry.origin.plugin} ({entry.origin})"),
            ("file", f"{entry.file} of {entry.package}"),
            ("version", suite.version),
            ("published", ", ".join(suite.models) or "none"),
        ]
    )
    click.echo()
    rows = [(row, *cells) for row, outline in suite.rows.items() for cells in _row(outline)]
    shown = [("" if number and rows[number - 1][0] == row[0] else row[0], *row[1:]) for number, row in enumerate(rows)]
    echo_table(shown, ("row", "task", "settings", "metric", "note"))
    click.echo()
    for depth, text in _tree(suite.tree, 0):
        click.echo("  " * depth + text)


def _row(row: RowOutline) -> Iterator[tuple[str, str, str, str]]:
    notes = "; ".join(
        filter(None, ("sealed" if row.sealed else "", f"{row.limit} questions" if row.limit else "", row.note))
    )
    for number, (name, use) in enumerate(row.tasks.items()):
        given = use.settings.model_dump(mode="json", include=use.settings.model_fields_set)
        settings = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items())
        task = f"{use.name} as {name}" if len(row.tasks) > 1 else use.name
        yield task, settings, row.metric or "the task's first", notes if number == 0 else ""


def _tree(node: Node, depth: int) -> Iterator[tuple[int, str]]:
    from aftertrain.core.benchmark.outline import RULES

    rule = next(rule for rule in RULES if getattr(node, rule))
    words = WORDS[rule]
    leaves = [f"{node.sum[part]:g} · {part}" if node.sum else part for part in node.parts if isinstance(part, str)]
    leaves = [f"{name} ({node.metrics[name]})" if name in node.metrics else name for name in leaves]
    yield depth, f"{node.name}: {words} {', '.join(leaves)}" if leaves else f"{node.name}: {words}"
    for part in node.parts:
        if not isinstance(part, str):
            yield from _tree(part, depth + 1)
