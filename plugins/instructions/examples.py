"""Replies and what they are worth, for `aftertrain check-plugin`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TWO = {
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"num_words": 3, "relation": "at least"}],
}
_TULU = {"func_name": "validate_lowercase", "N": None}
_QUIET = {"instruction_id_list": ["format:no_whitespace", "count:numbers"], "kwargs": [{}, {"N": 1.0}]}
_SENTENCES = '{"instruction_id_list": ["sentence:keyword"], "kwargs": [{"word": "fox", "N": 2}]}'

CASES = {
    "ifeval": [
        ("one two three", _TWO, 1.0),
        ("one, two, three", _TWO, 0.0),
        ("", _TWO, 0.0),
        ("all small", _TULU, 1.0),
        ("Not All", _TULU, 0.0),
        ("x", '{"func_name": "validate_title"}', 0.0),
        ("x", {"instruction_id_list": ["punctuation:no_comas"], "kwargs": [{}]}, "error"),
    ],
    "ifbench": [
        ("area51", _QUIET, 1.0),
        ("area 51", _QUIET, 0.0),
        ("", _QUIET, 0.0),
        ("It snowed. The fox slept.", _SENTENCES, 1.0),
        ("The fox slept. It snowed.", _SENTENCES, 0.0),
        ("7", {"instruction_id_list": ["count:number"], "kwargs": [{"N": 1}]}, "error"),
        ("7", "count:numbers", "error"),
    ],
}


def _rows(folder: Path, place: str, instructions: Mapping[str, Any]) -> str:
    """Two prompts in a folder laid out like the hub."""
    file = folder / f"{place}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"key": key, "prompt": f"Write {key} words.", **instructions} for key in (1, 2)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(folder)


def ifeval(folder: Path) -> dict[str, Any]:
    """Two prompts of two instructions each."""
    return {"data": _rows(folder, "google/IFEval/default/train", _TWO), "weights": {"punctuation:no_comma": 3}}


def ifeval_ood(folder: Path) -> dict[str, Any]:
    """Two prompts of IFBench's kinds."""
    return {"data": _rows(folder, "allenai/IFBench_test/default/train", _QUIET), "kinds": "ifbench"}


def constrained(folder: Path) -> dict[str, Any]:
    """Two prompts that ask for no commas."""
    path = folder / "rows.jsonl"
    rows = [{"instruction": f"Write {n} words.", "output": "So be it."} for n in (4, 5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "data": {"use": "jsonl", "path": str(path), "format": "alpaca"},
        "instruction": "punctuation:no_comma",
        "sentence": "Use no commas.",
    }


EXAMPLES = {
    ("dataset", "constrained"): constrained,
    ("eval_task", "ifeval"): ifeval,
    ("eval_task", "ifeval_ood"): ifeval_ood,
}
