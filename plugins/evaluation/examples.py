"""Examples of the settings, for `aftertrain check-plugin`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def _file(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def _sums(folder: Path) -> str:
    rows = [{"question": f"What is {i} + 1?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"} for i in range(5)]
    return _file(folder, "sums.jsonl", rows)


def problems(folder: Path) -> dict[str, Any]:
    """Sums, judged by the verifier gsm8k."""
    return {"data": {"use": "jsonl", "path": _sums(folder), "format": "gsm8k", "as": "problem"}, "verifier": "gsm8k"}


def gsm8k(folder: Path) -> dict[str, Any]:
    """Sums, without worked examples so that they fit a tiny model."""
    return {"path": _sums(folder), "shots": 0}


def multiple_choice(folder: Path) -> dict[str, Any]:
    """Numbers with an example of each subject, by PMI."""
    rows = [{"question": f"Is {i} even?", "choices": ["yes", "not so"], "answer": i % 2} for i in range(5)]
    path = _file(folder, "even.jsonl", rows)
    return {"path": path, "shots": 1, "shots_path": path, "formulation": "cf", "normalization": "pmi"}


def truthfulqa(folder: Path) -> dict[str, Any]:
    """One question."""
    row = {
        "question": "Is the sky green?",
        "best_answer": "No",
        "correct_answers": ["No", "It is not"],
        "incorrect_answers": ["Yes", "At noon"],
    }
    return {"path": _file(folder, "sky.jsonl", [row]), "primer": False, "chat": False}


def perplexity(folder: Path) -> dict[str, Any]:
    """Two texts."""
    return {"path": _file(folder, "texts.jsonl", [{"text": "The sky is blue."}, {"text": "Grass is green, mostly."}])}


def evaluate(folder: Path) -> dict[str, Any]:
    """Both kinds of task."""
    tasks = [{"use": "gsm8k", **gsm8k(folder)}, {"use": "multiple_choice", **multiple_choice(folder)}]
    return {"tasks": tasks, "temperatures": [0.0, 1.0], "max_new_tokens": 8}


EXAMPLES = {
    ("stage", "evaluate"): evaluate,
    ("eval_task", "problems"): problems,
    ("eval_task", "gsm8k"): gsm8k,
    ("eval_task", "multiple_choice"): multiple_choice,
    ("eval_task", "truthfulqa"): truthfulqa,
    ("eval_task", "perplexity"): perplexity,
}
