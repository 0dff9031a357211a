"""The quickstart on several seeds: accuracy after each stage, paired differences, wall time and peak memory.

    python benchmarks/quickstart.py [--seeds 0 1 2] [--quick] [--json FILE]

Each seed is a fresh process of `aftertrain run quickstart seed=S`, one after the other. The peak is the largest
resident set of that process. There is no peer to compare with: TRL has no PPO and no chain.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from table import Row, add_options, show

from aftertrain.core.events import Scores
from aftertrain.core.events.lines import read_events

STAGES = ("base", "sft", "dpo", "rlvr")
GIB = 2**20  # ru_maxrss is in KiB on Linux


@dataclass(frozen=True)
class Run:
    """One seed's run: scores by (stage, temperature), differences by (stage, against, temperature)."""

    seed: int
    seconds: float
    peak_gib: float
    scores: dict[tuple[str, float], dict[str, Any]]
    differences: dict[tuple[str, str, float], dict[str, Any]]


def run(seed: int, out: Path) -> Run:
    """Run one seed in a process of its own."""
    command = [
        str(Path(sys.executable).with_name("aftertrain")),
        "run",
        "quickstart",
        f"seed={seed}",
        "--out",
        str(out),
    ]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    if status != 0:
        raise SystemExit(f"seed {seed}: the run ended with status {os.waitstatus_to_exitcode(status)}")
    scores, differences = {}, {}
    for entry in read_events(out / "quickstart" / "events.jsonl"):
        if not isinstance(entry.event, Scores):
            continue
        stage = entry.stage.removesuffix("-eval")
        for row in entry.event.scores:
            if row.metric == "exact_match":
                scores[stage, row.temperature] = asdict(row)
        for paired in entry.event.differences:
            if paired.metric == "exact_match":
                differences[stage, paired.against.removesuffix("-eval"), paired.temperature] = asdict(paired)
    return Run(seed, seconds, usage.ru_maxrss / GIB, scores, differences)


def table(runs: Sequence[Run]) -> str:
    """A Markdown table, accuracy in per cent and differences in points."""
    head = ["seed", "decoding", *STAGES, "sft − base", "rlvr − dpo", "wall", "peak memory"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for item in runs:
        for temperature, name in ((1.0, "temperature 1"), (0.0, "greedy")):
            cells = [str(item.seed), name]
            cells += [f"{100 * item.scores[stage, temperature]['mean']:.1f} %" for stage in STAGES]
            for after, before in (("sft", "base"), ("rlvr", "dpo")):
                row = item.differences[after, before, temperature]
                cells.append(f"{100 * row['mean']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]")
            minutes, seconds = divmod(round(item.seconds), 60)
            cells += [f"{minutes}:{seconds:02d} min", f"{item.peak_gib:.2f} GiB"]
            lines.append("| " + " | ".join(cells) + " |")
    n = next(iter(runs[0].scores.values()))["n"]
    return "\n".join(
        [*lines, "", f"n = {n} held-out problems; differences in points with 95 % paired-bootstrap intervals."]
    )


def rows(runs: Sequence[Run]) -> list[Row]:
    """The figures as benchmark rows; there is no peer."""
    found: list[tuple[str, str, float]] = []
    for item in runs:
        found += [
            (f"seed {item.seed}: wall time", "s", item.seconds),
            (f"seed {item.seed}: peak", "GiB", item.peak_gib),
        ]
        found += [
            (f"seed {item.seed}: accuracy of {stage} at temperature {temperature:g}", "share", score["mean"])
            for (stage, temperature), score in item.scores.items()
        ]
    return [Row(name, unit, value) for name, unit, value in found]


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add_options(parser, "the first seed only")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the runs in DIR/seed-S")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        runs = [run(seed, folder / f"seed-{seed}") for seed in arguments.seeds[: 1 if arguments.quick else None]]
    print(table(runs) + "\n")
    show(rows(runs), arguments.json)


if __name__ == "__main__":
    main()
