"""Replies and what they are worth, and settings of a stage, for the conformance kit."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path


def short(folder: Path) -> dict[str, object]:
    """Two conversations, of which one is short, and a line that is none."""
    replies = ("Yes.", "That depends on what is meant.")
    rows = [
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]} for text in replies
    ]
    file = folder / "talks.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no JSON\n")
    return {"data": {"use": "jsonl", "path": str(file)}}


JUDGE = {
    "model": "package:aftertrain.plugins.quickstart/model",
    "generator": {"use": f"{Path(str(find_spec('aftertrain.plugins.judging.echo').origin))}:Echo"},
}
"""A judge that says again what stands last."""
EXAMPLES = {("stage", "acme/short"): short, ("verifier", "acme/says_yes"): JUDGE}
CASES = {
    "acme/says_yes": [
        ("yes", "Paris", 1.0),
        ("No.", "Paris", 0.0),
        ("Perhaps", "Paris", "unparsable"),
        ("yes", 7, "error"),
    ],
    "acme/ends_with": [
        ("It is Paris.", "Paris", 1.0),
        ("Paris it is", "Paris", 0.0),
        (" . ", "Paris", "unparsable"),
        ("Paris", 7, "error"),
    ],
}
