"""The page for plugin authors: what it says has moved is where it says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from aftertrain.core.plugin import API, MIGRATION

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / MIGRATION).read_text(encoding="utf-8")
ROWS = [
    (old, room, renamed)
    for names, room, renamed in re.findall(r"^\| (`[^|]+) \| `(aftertrain\.[a-z.]+)`(?:, as `(\w+)`)? \|$", PAGE, re.M)
    for old in re.findall(r"`([a-z_.]+)`", names)
]


def test_the_page_covers_the_contract_that_is_spoken() -> None:
    assert f"## From API {API - 1} to {API}" in PAGE


@pytest.mark.parametrize(("old", "room", "renamed"), ROWS, ids=[old for old, *_ in ROWS])
def test_what_moved_is_where_the_page_says(old: str, room: str, renamed: str) -> None:
    assert not (ROOT / "core" / f"{old.replace('.', '/')}.py").exists()
    name = room if old == "invariants" else f"{room}.{renamed or old.rpartition('.')[2]}"
    assert importlib.util.find_spec(name) is not None, name
