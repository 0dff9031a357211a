"""What a million rows cost in the stage `curate`: wall and processor seconds, and memory, at several sizes.

    python benchmarks/curate.py                      10 thousand, 100 thousand and a million short rows
    python benchmarks/curate.py --rows 100000

Rows are made here: short questions and answers of some thirty words, a tenth of them near copies of others. Each size
is a whole `aftertrain run` in a process of its own, start included: length, repetition, turns, two thresholds (one by
quantile, so that it sees all rows first) and near duplicates, in as many processes as there are cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from table import Row, add_options, show

SIZES = (10_000, 100_000, 1_000_000)
OPERATORS = {
    "none": "[]",
    "facts": "[length, repetition, turns, {use: threshold, fact: turns.faults, at_most: 0}]",
    "all": "[length, repetition, turns, {use: threshold, fact: turns.faults, at_most: 0},"
    " {use: threshold, fact: length.words, at_most: {quantile: 0.99}}, deduplicate]",
}
"""Only counted and written; facts and a filter, row by row; with those that see all rows first."""
_CHILD = """
import resource, sys
from aftertrain.cli import main
status = main(sys.argv[1:])
uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(sum(use.ru_utime + use.ru_stime for use in uses))
sys.exit(status)
"""
_LOOK = 0.1
"""Seconds between two looks at memory."""


def write_rows(path: Path, count: int) -> None:
    """So many short conversations, as JSON lines."""
    rng = random.Random(0)
    words = [
        f"{a}{b}" for a in ("ka", "lo", "mi", "su", "te", "ran", "vor") for b in ("", "n", "ra", "tik", "lum", "dor")
    ]
    with path.open("w", encoding="utf-8") as file:
        before = ("", "")
        for number in range(count):
            question, answer = (" ".join(rng.choices(words, k=k)) for k in (10, 20))
            if number % 10 == 9:
                question, answer = before[0], f"{before[1]} too"
            before = question, answer
            turns = [{"role": "user", "content": f"{question}?"}, {"role": "assistant", "content": f"{answer}."}]
            file.write(json.dumps({"id": f"r{number}", "messages": turns}) + "\n")


def measured(folder: Path, count: int, name: str, workers: int | None) -> list[Row]:
    """One run's figures."""
    recipe = folder / f"{name}-{count}.yaml"
    data = f"{{use: jsonl, path: rows-{count}.jsonl}}"
    stage = f"data: {data}, operators: {OPERATORS[name]}, workers: {workers or 'null'}"
    recipe.write_text(f"name: {name}-{count}\nstages:\n  curate: {{use: curate, {stage}}}\n", encoding="utf-8")
    began = time.monotonic()
    command = [sys.executable, "-c", _CHILD, "run", str(recipe), "--out", str(folder / "runs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        most = 0.0
        while process.poll() is None:
            most = max(most, sum(map(resident, family(process.pid))))
            time.sleep(_LOOK)
        assert process.stdout is not None
        told = process.stdout.read()
    wall = time.monotonic() - began
    if process.returncode:
        raise SystemExit(told)
    seconds, what = float(told.splitlines()[-1]), f"{name}, {count:,} rows"
    return [
        Row(f"{what}: wall", "s", wall),
        Row(f"{what}: processor", "s", seconds),
        Row(f"{what}: processor for each thousand rows", "ms", seconds * 1e6 / count),
        Row(f"{what}: memory of all its processes", "MiB", most),
    ]


def family(process: int) -> list[int]:
    """A process and its descendants."""
    found = [process]
    for parent in found:
        try:
            tasks = Path(f"/proc/{parent}/task").iterdir()
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:  # it has ended
            continue
    return found


def resident(process: int) -> float:
    """MiB of memory that a process holds now."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def growth(name: str, sizes: Sequence[int], rows: Sequence[Row]) -> list[Row]:
    """What a further million rows costs, by the two last sizes; what any size has, as the start, is not in it.

    Args:
        rows: figures of the recipe, four a size.
    """
    if len(rows) < 8:
        return []
    step = (sizes[len(rows) // 4 - 1] - sizes[len(rows) // 4 - 2]) / 1e6
    return [
        Row(f"{name}, a further million rows: {what}", unit, (rows[at - 4].ours - rows[at - 8].ours) / step)
        for what, unit, at in (("wall", "s", len(rows)), ("processor", "s", len(rows) + 1))
    ]


def foretold(name: str, sizes: Sequence[int], rows: Sequence[Row], count: int) -> str:
    """How long the next size will take, by those before it."""
    ahead = growth(name, sizes, rows)
    if not ahead:
        return ""
    more = (count - sizes[len(rows) // 4 - 1]) / 1e6
    wall, seconds = (row.ours * more + rows[place - 4].ours for place, row in enumerate(ahead))
    return f"{name}, {count:,} rows: about {wall:,.0f} s, {seconds:,.0f} s of processors, by the sizes before\n"


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="sizes")
    parser.add_argument("--operators", choices=OPERATORS, nargs="+", default=[*OPERATORS], help="which recipes")
    parser.add_argument("--workers", type=int, help="processes; as many as there are cores by default")
    add_options(parser, "ten thousand rows alone")
    options = parser.parse_args()
    rows: dict[str, list[Row]] = {name: [] for name in options.operators}
    sizes = SIZES[:1] if options.quick else options.rows
    with tempfile.TemporaryDirectory() as temporary:
        for count in sizes:
            write_rows(Path(temporary) / f"rows-{count}.jsonl", count)
            for name in options.operators:
                sys.stdout.write(foretold(name, sizes, rows[name], count))
                sys.stdout.flush()
                rows[name] += measured(Path(temporary), count, name, options.workers)
                show(rows[name][-4:], None)
    sys.stdout.write(f"\n{os.cpu_count()} cores\n")
    show([row for name, own in rows.items() for row in (*own, *growth(name, sizes, own))], options.json)


if __name__ == "__main__":
    main()
