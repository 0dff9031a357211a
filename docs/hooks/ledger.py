"""Fills the page of the ledger with the lists of `aftertrain.core.book`."""

from __future__ import annotations

from typing import Any

from aftertrain.core.book import OWN, TOKENS, UNITS

PAGE = "reference/ledger.md"


def on_page_markdown(markdown: str, page: Any, **others: Any) -> str:
    """Put the states of each unit, and of tokens, where the mark stands."""
    return markdown.replace("<!-- ledger -->", lists()) if page.file.src_uri == PAGE else markdown


def lists() -> str:
    """A table for each unit, and one for tokens."""
    units = {**{f"`{name}`": unit for name, unit in UNITS.items()}, "`PLUGIN/UNIT`": OWN}
    parts = [
        f"### {name}\n\n{unit.what[0].upper()}{unit.what[1:]}.\n\n{_table(unit.states)}" for name, unit in units.items()
    ]
    return "\n".join([*parts, f"### Tokens\n\n{_table(TOKENS)}"])


def _table(states: Any) -> str:
    return "\n".join(["| state | what it says |", "|---|---|", *(f"| `{k}` | {v} |" for k, v in states.items()), ""])
