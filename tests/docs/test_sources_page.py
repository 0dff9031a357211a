"""The page of the known data sets has every one of the catalogue, with what cites it."""

from __future__ import annotations

import runpy
from pathlib import Path

from aftertrain.plugins.data.sources.entry import catalogue

ROOT = Path(__file__).parents[2]


def test_every_source_stands_on_the_page() -> None:
    hook = runpy.run_path(str(ROOT / "docs" / "hooks" / "sources.py"))
    text = hook["lists"]()
    assert "<!-- sources -->" in (ROOT / "docs" / hook["PAGE"]).read_text()
    assert "docs/hooks/sources.py" in (ROOT / "mkdocs.yml").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| [")]
    sections = dict(part.split("`", 1) for part in text.split("### `")[1:])
    assert list(sections) == list(catalogue())
    for (name, entry), (linked, rows_told, _, licence, state, *_) in zip(catalogue().items(), rows, strict=True):
        assert linked.startswith(f"[`{name}`](#")
        assert f"{{: {linked.split('(')[1].strip(')')} }}" in sections[name]
        assert rows_told.replace(",", "") == str(entry.rows or "unconfirmed")
        assert licence.split(";")[0] == (entry.license or "unconfirmed")
        assert state == ("unverified" if entry.unverified else "verified")
        assert all(f"`{citation}`" in sections[name] for citation in entry.seen)
        assert entry.unverified in sections[name]
