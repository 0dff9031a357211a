"""Examples of the settings, for `aftertrain check-plugin`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"What is {i} + 1?"},
            {"role": "assistant", "content": f"It is {i + 1}."},
        ]
    }
    for i in range(7)
]


def jsonl(folder: Path) -> dict[str, Any]:
    """Conversations, one a line."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return {"path": str(path)}


def csv(folder: Path) -> dict[str, Any]:
    """Two texts a line."""
    path = folder / "rows.csv"
    path.write_text("prompt,response\n" + "".join(f'What is {i} + 1?,"It is, then, {i + 1}."\n' for i in range(7)))
    return {"path": str(path), "format": "prompt_response"}


def json_array(folder: Path) -> dict[str, Any]:
    """All rows as one array."""
    path = folder / "rows.json"
    path.write_text(json.dumps(ROWS, indent=2), encoding="utf-8")
    return {"path": str(path)}


def parquet(folder: Path) -> dict[str, Any]:
    """The same as a table."""
    import pyarrow
    import pyarrow.parquet

    path = folder / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return {"path": str(path)}


def hub(folder: Path) -> dict[str, Any]:
    """A local folder, laid out as on the hub."""
    place = folder / "on-the-hub"
    place.mkdir()
    jsonl(place)
    return {"path": str(place)}


def mixture(folder: Path) -> dict[str, Any]:
    """Two thirds of one file and one third of another."""
    other = folder / "other"
    other.mkdir()
    one, two = jsonl(folder), jsonl(other)
    parts = [{"data": {"use": "jsonl", "source": "one", **one}, "weight": 2.0}]
    return {"parts": [*parts, {"data": {"use": "jsonl", "source": "two", **two}, "weight": 1.0}], "rows": 6}


def rounds(folder: Path) -> dict[str, Any]:
    """Two rounds."""
    later = folder / "later"
    later.mkdir()
    return {
        "of": [
            {"use": "jsonl", "source": "first", **jsonl(folder)},
            {"use": "jsonl", "source": "second", **jsonl(later)},
        ]
    }


def source(folder: Path) -> dict[str, Any]:
    """Rows in the layout of a known data set."""
    path = folder / "no_robots.jsonl"
    rows = [{"prompt": "?", "prompt_id": f"p{i}", "category": "Chat", **row} for i, row in enumerate(ROWS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"name": "tulu3/no_robots", "path": str(path)}


EXAMPLES = {
    ("dataset", "jsonl"): jsonl,
    ("dataset", "parquet"): parquet,
    ("dataset", "csv"): csv,
    ("dataset", "json"): json_array,
    ("dataset", "hub"): hub,
    ("dataset", "mixture"): mixture,
    ("dataset", "rounds"): rounds,
    ("dataset", "stage"): {"from": "curate"},
    ("dataset", "source"): source,
}
