"""Examples of the settings, for `aftertrain check-plugin`: two rows of each benchmark in its hub's columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

TWO = {"text": ["ice", "steam"], "label": ["A", "B"]}
FOUR = ["ice", "steam", "mud", "dust"]
ROWS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "arc_easy": ("allenai/ai2_arc/ARC-Easy/test", {"question": "What is cold?", "choices": TWO, "answerKey": "A"}),
    "arc_challenge": (
        "allenai/ai2_arc/ARC-Challenge/test",
        {"question": "What is hot?", "choices": {**TWO, "label": ["1", "2"]}, "answerKey": "2"},
    ),
    "boolq": (
        "aps/super_glue/boolq/validation",
        {"passage": "Ice -- It is cold.", "question": "is ice hot", "label": 0},
    ),
    "csqa": ("tau/commonsense_qa/default/validation", {"question": "What melts?", "choices": TWO, "answerKey": "A"}),
    "hellaswag": (
        "Rowan/hellaswag/default/validation",
        {"activity_label": "Melting", "ctx_a": "It is hot.", "ctx_b": "the ice", "endings": FOUR, "label": "1"},
    ),
    "openbookqa": (
        "allenai/openbookqa/main/test",
        {"question_stem": "Water that boils is", "choices": TWO, "answerKey": "B"},
    ),
    "piqa": (
        "ybisk/piqa/plain_text/validation",
        {"goal": "Melt ice", "sol1": "heat it", "sol2": "cool it", "label": 0},
    ),
    "socialiqa": (
        "allenai/social_i_qa/default/validation",
        {
            "context": "Ann fell.",
            "question": "How is Ann?",
            "answerA": "hurt",
            "answerB": "fed",
            "answerC": "tall",
            "label": "1",
        },
    ),
    "winogrande": (
        "allenai/winogrande/winogrande_xl/validation",
        {"sentence": "Ann thanked Bea, for _ had helped.", "option1": "Ann", "option2": "Bea", "answer": "2"},
    ),
    "mmlu": (
        "cais/mmlu/all/test",
        {"question": "What is cold?", "choices": FOUR, "answer": 0, "subject": "high_school_ice"},
    ),
}
"""By task: where a row stands, and the row."""


def _writes(task: str, settings: Mapping[str, Any]) -> Callable[[Path], dict[str, Any]]:
    def written(folder: Path) -> dict[str, Any]:
        place, row = ROWS[task]
        file = folder / f"{place}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(2 * (json.dumps(row) + "\n"), encoding="utf-8")
        return {"data": str(folder), **settings}

    return written


EXAMPLES = {
    ("eval_task", task): _writes(task, {"shots": 0, "formulation": "mc" if place % 2 else "rc"})
    for place, task in enumerate(ROWS)
}
