"""What a plan of many rows costs, beside loading and tokenising all of them as a trainer does before its first step.

    python benchmarks/plan.py            # 200,000 conversations, some two minutes
    python benchmarks/plan.py --quick --json FILE

Rows are generated. Ours is the whole process of `aftertrain plan`, which looks at every row and tokenises a sample; the
peer's is a process that loads the same file with `datasets` and renders and tokenises every row by the chat template of
the same tokenizer, which is the least that shows a user how many rows and tokens there are. Figures are processor
seconds, of one core and of all children, so that a busy machine does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from table import Row, add_options, show

from aftertrain.plugins import quickstart

MODEL = Path(quickstart.__file__).parent / "model"
ROWS, FEW = 200_000, 20_000
RECIPE = """\
name: plan
model: package:aftertrain.plugins.quickstart/model
stages:
  sft: {{use: train, loss: {{use: sft}}, data: {{use: jsonl, path: {path}}}, optimizer: {{lr: 1.0e-5}}}}
"""
PEER = """\
import sys
from datasets import load_dataset
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
rows = load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[3])
rows = rows.map(lambda row: {"n": len(tokenizer.apply_chat_template(row["messages"], return_dict=True)["input_ids"])})
print(len(rows), sum(rows["n"]))
"""


def write(path: Path, n_rows: int) -> None:
    """`n_rows` short conversations as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(n_rows):
            turns = [
                {"role": "user", "content": f"What is {i} + 1?"},
                {"role": "assistant", "content": f"It is {i + 1}."},
            ]
            file.write(json.dumps({"id": f"row-{i}", "messages": turns}) + "\n")


def processor_seconds(words: list[str], folder: Path) -> float:
    """Processor seconds of a process and its children, on one core.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run(words, check=True, capture_output=True, cwd=folder, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, f"{FEW:,} rows instead of {ROWS:,}")
    parser.add_argument("--rows", type=int, help="rows that are planned")
    options = parser.parse_args()
    n_rows = options.rows or (FEW if options.quick else ROWS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, recipe = folder / "rows.jsonl", folder / "plan.yaml"
        write(data, n_rows)
        recipe.write_text(RECIPE.format(path=data), encoding="utf-8")
        ours = processor_seconds([sys.executable, "-m", "aftertrain.cli", "plan", str(recipe)], folder)
        peer = processor_seconds([sys.executable, "-c", PEER, str(data), str(MODEL), str(folder / "cache")], folder)
    show([Row.less_is_better(f"plan of {n_rows:,} rows vs tokenising them", "s", ours, peer)], options.json)


if __name__ == "__main__":
    main()
