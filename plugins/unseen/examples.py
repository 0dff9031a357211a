"""Examples of the settings, for `aftertrain check-plugin`: rows of each benchmark in its hub's columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aftertrain.plugins.unseen.categories import CATEGORIES
from aftertrain.plugins.unseen.tasks import AGIEvalEnglish

PRO = {
    "question_id": 7,
    "question": "What is cold?",
    "options": ["ice", "steam", "lava"],
    "answer": "A",
    "answer_index": 0,
    "category": "physics",
}
EXAM = {"passage": None, "question": "What is hot?", "options": ["(A)ice", "(B)steam"], "label": "B"}
SCIENCE = {
    "Question": "What melts?",
    "Correct Answer": "ice",
    "Incorrect Answer 1": "steam",
    "Incorrect Answer 2": "air",
    "Incorrect Answer 3": "fog",
    "High-level domain": "Physics",
}
SUM = {"question": r"b'What is 2 + 3?\n'", "answer": r"b'5\n'"}
ROWS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "agieval_english": {str(source): EXAM for source in AGIEvalEnglish.sources},
    "mmlu_pro": {"TIGER-Lab/MMLU-Pro/default/test": PRO},
    "mmlu_pro_direct": {
        "TIGER-Lab/MMLU-Pro/default/test": PRO,
        "TIGER-Lab/MMLU-Pro/default/validation": {**PRO, "question": "What is cool?"},
    },
    "deepmind_math": {f"deepmind/math_dataset/{category}/test": SUM for category in CATEGORIES},
    "gpqa": {"Idavidrein/gpqa/gpqa_main/train": SCIENCE},
}
"""By task: where rows stand, and the row that stands there twice."""


def _writes(task: str, settings: Mapping[str, Any]) -> Callable[[Path], dict[str, Any]]:
    def written(folder: Path) -> dict[str, Any]:
        for place, row in ROWS[task].items():
            file = folder / f"{place}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(2 * (json.dumps(row) + "\n"), encoding="utf-8")
        return {"data": str(folder), **settings}

    return written


EXAMPLES = {
    ("eval_task", task): _writes(task, {"shots": 1} if task == "mmlu_pro_direct" else {"max_new_tokens": 16})
    for task in ROWS
}
