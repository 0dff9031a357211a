"""Fills the page of the known sources from the catalogue of the data set `source`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aftertrain.core.settings import Listed
from aftertrain.plugins.data.sources.settings import SourceSettings

PAGE = "reference/sources.md"


def on_page_markdown(markdown: str, page: Any, **others: Any) -> str:
    """Put the tables where the mark stands."""
    return markdown.replace("<!-- sources -->", lists()) if page.file.src_uri == PAGE else markdown


def lists() -> str:
    """The table of all sources, and a section for each."""
    listed = SourceSettings.listing()
    head = ["name", *next(iter(listed.values())).shown]
    table = [_row(head), "|" + "---|" * len(head)]
    table += [_row([f"[`{name}`](#{_anchor(name)})", *item.shown.values()]) for name, item in listed.items()]
    return "\n".join([*table, "", *(_section(name, item) for name, item in listed.items())])


def _section(name: str, item: Listed) -> str:
    facts: Mapping[str, str] = {**item.shown, **item.more}
    told = [f"- {fact}: {_told(fact, text)}" for fact, text in facts.items() if text]
    return "\n".join([f"### `{name}` {{: #{_anchor(name)} }}", "", *told, ""])


def _told(fact: str, text: str) -> str:
    if fact in ("layout", "reads", "only rows"):
        return f"`{text}`"
    if fact in ("columns seen", "licence seen"):
        return ", ".join(f"`{citation}`" for citation in text.split(", "))
    return text


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
