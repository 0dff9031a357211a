"""How the cost of a step grows with its tokens, ours beside TRL's best setting; and from one process to two.

    AFTERTRAIN_DATA=… AFTERTRAIN_SMOLLM2=… python benchmarks/train_growth.py --plot docs/images/train-growth.svg
    AFTERTRAIN_DATA=… AFTERTRAIN_SMOLLM2=… python benchmarks/train_growth.py --processes

Supervised steps on GSM8K rows with a Llama of hidden size 128 and 4 layers and SmolLM2's vocabulary (`--model` for
another): at 32k tokens a larger one takes an hour on a CPU. Ours takes the whole batch as one micro-batch of about so
many tokens. TRL is padding-free (`padding_free=True`), step by step in turn with ours on the same samples (see
`train.py`), with the whole batch at once where memory is free for it, and in micro-batches of 4 rows; its best is the
quicker of the two. Rates are of CPU seconds, activation memory is as in `train.py`.

`--processes` runs a recipe by `aftertrain run --nproc` with one process and with two, a thread each, and takes the
median tokens a second of wall time from its events: to be run on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from growth_plot import Curve, draw
from table import Row, add_options, show
from train import Step, measure, tiny
from train_child import Spec, available, conversations

SIZES = (1, 2, 4, 8, 16, 32)
MEAN = 190
"""Tokens of a row of GSM8K with SmolLM2's tokenizer, about."""
MICRO = 4
"""Rows of TRL's micro-batch where it accumulates gradients."""
PER_TOKEN = 1.5 * 2**20
"""Bytes that TRL may need for a token of this model and vocabulary; more than 1.2 MiB were seen."""


def compare(spec: Spec, thousands: int) -> tuple[list[Row], str]:
    """Rows of one size, and which of TRL's settings was the quicker."""
    count = max(MICRO, thousands * 1024 // MEAN // MICRO * MICRO)
    ways = {f"micro-batches of {MICRO} rows": MICRO}
    if thousands * 1024 * PER_TOKEN < 0.7 * available():
        ways["the whole batch at once"] = count
    found = {
        way: measure(replace(spec, case="sft-padding_free", rows=count, micro=micro)) for way, micro in ways.items()
    }
    best = max(found, key=lambda way: _rate(found[way], "peer"))
    steps = found[best]
    ours, peer = _rate(steps, "ours"), _rate(steps, "peer")
    label = f"{thousands}k tokens"
    rows = [
        Row(f"{label}: rate", "tok/cpu-s", ours, peer, ours / peer),
        Row.less_is_better(f"{label}: activation memory", "MiB", _memory(steps, "ours"), _memory(steps, "peer")),
    ]
    rows += [
        Row(f"{label}: TRL, {way}: activation memory", "MiB", _memory(others, "ours"), _memory(others, "peer"))
        for way, others in found.items()
        if way != best
    ]
    return rows, best


def _rate(steps: list[Step], side: str) -> float:
    return statistics.median(step.tokens / step.seconds(side, 1) for step in steps)


def _memory(steps: list[Step], side: str) -> float:
    sides = [getattr(step, side) for step in steps]
    return float(max(each["peak"] - each["fixed"] for each in sides)) / 2**20


def of_processes(model: str, data: Path, folder: Path, count: int) -> float:
    """Median tokens a second of a run's steps after the first."""
    rows = folder / "rows.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for row in conversations(data, 320):
            file.write(json.dumps({"messages": [*row["prompt"], *row["completion"]]}) + "\n")
    recipe = {
        "name": "processes",
        "model": model,
        "threads": 1,
        "stages": {
            "sft": {
                "use": "train",
                "loss": {"use": "sft"},
                "data": {"use": "jsonl", "path": str(rows), "format": "messages"},
                "optimizer": {"lr": 1e-6},
                "batch": {"sequences": 64, "micro_tokens": 4096},
                "max_steps": 5,
            }
        },
    }
    path = folder / "recipe.json.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    out = folder / f"runs-{count}"
    command = [sys.executable, "-m", "aftertrain.cli", "run", str(path), "--nproc", str(count), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    events = [json.loads(line) for line in (out / "processes" / "events.jsonl").read_text().splitlines()]
    speeds = [
        event["data"]["timing"]["tokens_per_second"]
        for event in events
        if event["name"] == "metrics" and event["step"] > 1
    ]
    return statistics.median(speeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", default=os.environ.get("AFTERTRAIN_SMOLLM2"), help="or AFTERTRAIN_SMOLLM2")
    parser.add_argument("--data", default=os.environ.get("AFTERTRAIN_DATA"), help="folder; or AFTERTRAIN_DATA")
    parser.add_argument("--model", help="folder of another model, with its tokenizer")
    parser.add_argument("--sizes", type=lambda text: [int(each) for each in text.split(",")], default=list(SIZES))
    parser.add_argument("--steps", type=int, default=2, help="measured steps of each size")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves there as SVG")
    parser.add_argument("--processes", action="store_true", help="one process and two instead")
    add_options(parser, "up to 4k tokens, one step")
    arguments = parser.parse_args()
    for name in ("tokenizer", "data"):
        if getattr(arguments, name) is None:
            print(f"left out: --{name} is needed, or its environment variable")
            return
    if find_spec("trl") is None and not arguments.processes:
        print("left out: trl is not installed")
        return
    if arguments.quick:
        arguments.sizes, arguments.steps = [1, 2, 4], 1
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or tiny(Path(folder) / "model", arguments.tokenizer)
        if arguments.processes:
            one, two = (of_processes(model, Path(arguments.data), Path(folder), count) for count in (1, 2))
            rows = [Row("1 process", "tok/s", one), Row("2 processes", "tok/s", two, one, two / one)]
            show(rows, arguments.json)
            return
        print(f"beside trl {version('trl')}, float32, one thread, medians of {arguments.steps} steps")
        spec = Spec(
            case="",
            model=model,
            data=arguments.data,
            rows=0,
            micro=0,
            steps=arguments.steps + 1,
            threads=1,
            max_length=1024,
            micro_tokens=2 * 1024 * max(arguments.sizes),  # more than any batch has
        )
        for thousands in arguments.sizes:
            found, best = compare(spec, thousands)
            print(f"TRL's best setting: {best}")
            show(found, None)
            rows += found
    if arguments.json is not None:
        show(rows, arguments.json)
    if arguments.plot is not None:
        arguments.plot.write_text(plot(arguments.sizes, rows), encoding="utf-8")


def plot(sizes: list[int], rows: list[Row]) -> str:
    """Both curves of both sides."""
    rates = [row for row in rows if row.name.endswith(": rate")]
    memory = [row for row in rows if row.name.endswith("k tokens: activation memory")]
    return draw(
        sizes,
        "tokens in a step, thousands",
        [
            (
                "tokens a CPU second",
                [Curve("aftertrain", [r.ours for r in rates]), Curve("TRL", [r.peer or 0 for r in rates])],
            ),
            (
                "activation memory, MiB",
                [Curve("aftertrain", [r.ours for r in memory]), Curve("TRL", [r.peer or 0 for r in memory])],
            ),
        ],
    )


if __name__ == "__main__":
    main()
