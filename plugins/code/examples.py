"""Replies and what they are worth, for `aftertrain check-plugin`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_CHECK = {"test": "def check(candidate):\n    assert candidate(3) == 9\n", "entry_point": "square"}
_ASSERTS = ["assert square(3) == 9", "assert square(-2) == 4"]
_ADD = {"inputs": ["1 2\n", "5 5\n"], "outputs": ["3\n", "10\n"]}

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'def square(x):\n    """ The square of x. """\n',
    "entry_point": "square",
    "canonical_solution": "    return x * x\n",
    "test": "def check(candidate):\n    assert candidate(3) == 9\n    assert candidate(-2) == 4\n",
}
BIGCODEBENCH = {
    "task_id": "BigCodeBench/0",
    "instruct_prompt": "Count words. Begin with:\n```\nimport collections\ndef task_func(text):\n```",
    "code_prompt": "import collections\ndef task_func(text):",
    "canonical_solution": "    return dict(collections.Counter(text.split()))\n",
    "entry_point": "task_func",
    "libs": "['collections']",
    "test": """import os
import time
import unittest
from unittest.mock import patch

class TestCases(unittest.TestCase):
    def test_counts(self):
        self.assertEqual(task_func("a b a"), {"a": 2, "b": 1})

    def test_uses_the_counter(self):
        with patch("collections.Counter", return_value={"x": 1}) as counter:
            task_func("a")
            counter.assert_called_once()

    def test_is_run_alone(self):
        self.assertEqual((time.tzname[0], os.environ["OMP_NUM_THREADS"]), ("UTC", "1"))
""",
}
"""A row of each in its hub's columns."""


def _writes(place: str, row: Mapping[str, Any], settings: Mapping[str, Any]) -> Callable[[Path], dict[str, Any]]:
    def written(folder: Path) -> dict[str, Any]:
        file = folder / f"{place}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps({**row, "task_id": id_}) + "\n" for id_ in "ab"), encoding="utf-8")
        return {"data": str(folder), **settings}

    return written


_FEW = {"samples": 2, "max_new_tokens": 8}
_SOON = {**_FEW, "timeout": 5.0}
EXAMPLES = {
    ("verifier", "code"): {"timeout": 1.0},
    ("eval_task", "humaneval"): _writes("openai/openai_humaneval/openai_humaneval/test", HUMANEVAL, _FEW),
    ("eval_task", "humaneval_plus"): _writes("evalplus/humanevalplus/default/test", HUMANEVAL, _SOON),
    ("eval_task", "bigcodebench_hard"): _writes("bigcode/bigcodebench-hard/default/v0.1.2", BIGCODEBENCH, {}),
}

CASES = {
    "code": [
        ("```python\ndef square(x):\n    return x * x\n```", _CHECK, 1.0),
        ("def square(x):\n    return x + x", _CHECK, 0.0),
        ("import os\nos._exit(0)", _CHECK, 0.0),
        ("def square(x):\n    return x * x", _ASSERTS, 1.0),
        ("print(sum(map(int, input().split())))", _ADD, 1.0),
        ("print(3)", _ADD, 0.0),
        ("", _ADD, "unparsable"),
        ("print(3)", {"unit_tests": []}, "error"),
    ],
}
