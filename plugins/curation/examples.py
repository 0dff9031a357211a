"""Examples of the settings, for `aftertrain check-plugin`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def curate(folder: Path) -> dict[str, Any]:
    """Three rows of which one is none; no operator, which are other plugins'."""
    rows = [
        {"messages": [{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": f"{i}"}]}
        for i in range(2)
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no JSON\n", encoding="utf-8")
    return {"data": {"use": "jsonl", "path": str(path)}, "shard_rows": 2, "workers": 1}


EXAMPLES = {("stage", "curate"): curate}
