"""Examples of the settings, for `aftertrain check-plugin`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def gsm8k(folder: Path) -> dict[str, Any]:
    """Two sums, without worked examples so that they fit a tiny model."""
    file = folder / "openai" / "gsm8k" / "main" / "test.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    row = {"question": "What is 2 and 3?", "answer": "It is 2+3=<<2+3=5>>5.\n#### 5"}
    file.write_text(2 * (json.dumps(row) + "\n"), encoding="utf-8")
    return {"benchmark": "gsm8k", "data": str(folder), "shots": 0}


EXAMPLES = {("eval_task", "gold_bits"): gsm8k}
