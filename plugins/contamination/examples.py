"""Examples of the settings, for `aftertrain check-plugin`."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def decontaminate(folder: Path) -> dict[str, Any]:
    """One question that can be found by n-grams, and one that is looked for as a whole."""
    path = folder / "asked.txt"
    path.write_text("Write a poem about the sea, in two lines.\nWhat is the capital of France?\n", encoding="utf-8")
    return {"files": [str(path)]}


EXAMPLES = {("operator", "decontaminate"): decontaminate, ("operator", "decon"): decontaminate}
