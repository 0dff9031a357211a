"""Examples of the settings, for `aftertrain check-plugin`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def preferences(folder: Path) -> dict[str, Any]:
    """All replies of a model to a few sums, rated by a verifier."""
    rows = [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(8)]
    path = folder / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "data": {"use": "jsonl", "path": str(path), "format": "gsm8k", "as": "problem"},
        "models": [{"from": "base"}],
        "samples": 2,
        "sampling": {"max_new_tokens": 8},
        "rating": {"verifiers": [{"use": "gsm8k"}]},
        "output": "rows",
        "cut": "keep",
        "block": 3,
    }


EXAMPLES = {("stage", "preferences"): preferences}
