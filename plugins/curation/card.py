"""The data card beside the shards: what is in them, what was left out, and where `datasets` finds the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aftertrain.core.rows.files import read_objects
from aftertrain.core.rows.folder import ROWS, Contents
from aftertrain.plugins.curation.funnel import Funnel

EXAMPLES = 2
"""Rows shown of what an operator left out for one reason."""
SHOWN = 160


def card(name: str, contents: Contents, funnel: Funnel, folder: Path) -> str:
    """Markdown with the header that `datasets.load_dataset` reads."""
    return "\n".join(
        [
            "---",
            "configs:",
            "- config_name: default",
            "  data_files:",
            "  - split: train",
            f"    path: {ROWS}/*",
            "---",
            f"# {name}",
            "",
            f"{contents.rows:,} rows of the type {contents.record}, made by aftertrain's stage `curate`.",
            "",
            f"Characters {funnel.characters:,}, words {funnel.words:,}"
            f" ({funnel.words / max(1, contents.rows):,.1f} a row). SHA-256 of the shards: `{contents.digest}`.",
            "",
            *_table("Source", contents.sources),
            *_table("Licence", {key or "not stated": count for key, count in contents.licenses.items()}),
            *_funnel(funnel),
            *_examples(folder),
        ]
    )


def _table(head: str, counts: Mapping[str, int]) -> list[str]:
    total = sum(counts.values())
    rows = [f"| {_cell(name)} | {count:,} | {100 * count / total:.1f} % |" for name, count in counts.items()]
    return [f"| {head} | rows | share |", "|---|---|---|", *rows, ""]


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


def _examples(folder: Path) -> Iterator[str]:
    shown: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in sorted((folder / "dropped").glob("*.jsonl")):
        for line in read_objects(path):
            some = shown.setdefault((line["operator"], line["reason"]), [])
            if len(some) < EXAMPLES:
                some.append(line)
    for (operator, reason), lines in shown.items():
        yield f"### {operator}: {reason}"
        yield ""
        for line in lines:
            yield f"- `{line['id']}` {_cell(line['evidence'])}"
        yield ""


def _cell(text: str) -> str:
    short = " ".join(text.split())
    return (short if len(short) <= SHOWN else f"{short[:SHOWN]}…").replace("|", "\\|")
