"""Examples of the settings, for `aftertrain check-plugin`: a task of one's own over a file of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SUMS = """
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: answer
doc_to_choice: choices
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""


def sums(folder: Path) -> dict[str, Any]:
    """Sums with two choices."""
    rows = [{"question": f"{i} + 1 =", "choices": [str(i), str(i + 1)], "answer": 1} for i in range(4)]
    file = folder / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "sums.yaml").write_text(_SUMS.format(rows=file), encoding="utf-8")
    return {"member": "sums", "include_path": str(folder)}


EXAMPLES = {("eval_task", "lm_eval/"): sums}
