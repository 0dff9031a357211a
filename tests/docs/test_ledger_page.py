"""The page of the ledger lists what the code knows."""

from __future__ import annotations

import runpy
from pathlib import Path

from aftertrain.core.book import TOKENS, UNITS

ROOT = Path(__file__).parents[2]


def test_every_state_stands_on_the_page() -> None:
    hook = runpy.run_path(str(ROOT / "docs" / "hooks" / "ledger.py"))
    text = hook["lists"]()
    assert "<!-- ledger -->" in (ROOT / "docs" / hook["PAGE"]).read_text()
    for unit, lists in UNITS.items():
        section = text.split(f"### `{unit}`\n")[1].split("### ")[0]
        assert [line for line in section.splitlines() if line.startswith("| `")] == [
            f"| `{state}` | {words} |" for state, words in lists.states.items()
        ]
    assert all(f"| `{state}` | {words} |" in text for state, words in TOKENS.items())
