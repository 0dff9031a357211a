"""Examples of the settings, for `aftertrain check-plugin`: a few rows of each benchmark in its hub's columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_BLANK = {"number": "", "date": {"day": "", "month": "", "year": ""}, "spans": []}
_DROP = {
    "passage": "Ice melts at 0 degrees.",
    "question": "At how many degrees does ice melt?",
    "query_id": "a",
    "answer": {**_BLANK, "number": "0"},
    "validated_answers": {"number": [""], "date": [_BLANK["date"]], "spans": [["0 degrees"]]},
}
ROWS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "mmlu_cot": {
        "cais/mmlu/all/test": {
            "question": "What is cold?",
            "choices": ["ice", "steam", "lava", "dust"],
            "answer": 0,
            "subject": "high_school_ice",
        }
    },
    "popqa": {
        "akariasai/PopQA/default/test": {
            "id": 1,
            "prop": "color",
            "question": "What color is ice?",
            "obj": "white",
            "possible_answers": '["white", "color white"]',
        }
    },
    "bbh": {"lukaemon/bbh/navigate/test": {"input": "Stand still. Do you return?", "target": "Yes"}},
    "minerva_math": {
        "EleutherAI/hendrycks_math/algebra/test": {
            "problem": "What is $1 + 1$?",
            "type": "Algebra",
            "solution": "We add: $\\boxed{2}$.",
        }
    },
    "drop": {"EleutherAI/drop/default/validation": _DROP, "EleutherAI/drop/default/train": _DROP},
}
"""By task: where rows stand, and a row."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "bbh": {"tasks": ["navigate"]},
    "minerva_math": {"subjects": ["algebra"]},
}


def lay_out(folder: Path, task: str) -> None:
    """The rows of a task, laid out like the hub."""
    for place, row in ROWS[task].items():
        file = folder / f"{place}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(2 * (json.dumps(row) + "\n"), encoding="utf-8")


def _writes(task: str) -> Callable[[Path], dict[str, Any]]:
    def written(folder: Path) -> dict[str, Any]:
        lay_out(folder, task)
        return {"data": str(folder), "shots": 0, **SETTINGS.get(task, {})}

    return written


EXAMPLES = {("eval_task", task): _writes(task) for task in ROWS}
