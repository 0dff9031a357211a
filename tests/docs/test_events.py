"""The page of the events is made of their classes, each field of which says what it holds."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from pathlib import Path

from aftertrain.core.events import EVENTS

HOOK = Path(__file__).parents[2] / "docs" / "hooks" / "events.py"


def test_the_page_has_every_event_and_every_field_with_its_meaning() -> None:
    spec = importlib.util.spec_from_file_location("events_hook", HOOK)
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    page = hook.page()
    sections = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL))
    assert list(sections) == [kind.event for kind in EVENTS]
    for kind in EVENTS:
        rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \| (.*) \|$", sections[kind.event], re.MULTILINE)
        assert [name for name, _, _ in rows] == [part.name for part in fields(kind)]
    for line in page.splitlines():
        if line.startswith("| `"):
            assert re.fullmatch(r"\| `\w+` \| `[^`]+` \| [A-Z0-9`95].+ \|", line), line
    named = set(re.findall(r"\b[A-Z][A-Za-z]+\b", " ".join(re.findall(r"^\| `\w+` \| `(.+?)` \|", page, re.MULTILINE))))
    assert named - {"Mapping", "JSON", "None"} <= set(re.findall(r"^### (\w+)$", page, re.MULTILINE)) | {"Artifact"}
