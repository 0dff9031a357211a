"""The page for plugin authors: what it says has moved is where it says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from aftertrain.core.plugin import API
from aftertrain.registry.moved import moved

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/migration.md").read_text(encoding="utf-8")
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
    assert name in moved(ModuleNotFoundError(name=f"aftertrain.core.{old}")).split()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("from aftertrain.core.batch import Segment", "; it is in aftertrain.core.packed.packing now"),
        ("from aftertrain.core.events import read_events", "; it is in aftertrain.core.events.lines now"),
        ("import aftertrain.api_evaluation", "; it is aftertrain.api.evaluation now"),
        ("import aftertrain.core.invariants", "; it may be aftertrain.api.invariants or aftertrain.invariants now"),
        ("import aftertrain.core.composition", "; it is aftertrain.plugins.training.composition now"),
        ("from aftertrain.core.ranks import current", "; nothing of the name 'current' is in aftertrain 0.1.0"),
        ("import no_such_package", ""),
        ("1 / 0", ""),
    ],
)
def test_the_message_says_where_it_is_now(code: str, message: str) -> None:
    with pytest.raises((ImportError, ZeroDivisionError)) as caught:
        exec(code)
    assert moved(caught.value) == message
