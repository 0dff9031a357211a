"""Examples of the settings, for `aftertrain check-plugin`: two rows of each benchmark in its hub's columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LONGER = {
    "use": "pairwise",
    "model": "package:aftertrain.plugins.quickstart/model",
    "generator": {"use": f"{Path(__file__).parents[1] / 'judging' / 'stand_in.py'}:StandIn"},
    "template": "{{ fence }}\n{{ first }}\n{{ fence }}\n{{ fence }}\n{{ second }}\n{{ fence }}",
    "parse": {"pattern": "better: (a|b|tie)", "labels": {"a": 1.0, "b": 0.0, "tie": 0.5}},
}
"""A judge that prefers the longer reply, without a model."""
ROWS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "alpaca_eval": (
        "tatsu-lab/alpaca_eval/alpaca_eval_gpt4_baseline/eval",
        {"instruction": "Name a sea.", "output": "The Baltic.", "generator": "gpt4", "dataset": "koala"},
    ),
    "href": (
        "allenai/href/default/dev",
        {"instruction": "Name a sea.", "output": "The Baltic.", "reference": "The North Sea.", "category": "Open QA"},
    ),
}
"""By task: where its rows stand, and a row."""


def _writes(task: str) -> Callable[[Path], dict[str, Any]]:
    def written(folder: Path) -> dict[str, Any]:
        place, row = ROWS[task]
        file = folder / f"{place}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(2 * (json.dumps(row) + "\n"), encoding="utf-8")
        return {"data": str(folder), "judge": LONGER}

    return written


EXAMPLES = {("eval_task", task): _writes(task) for task in ROWS}
