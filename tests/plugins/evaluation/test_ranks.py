"""Several processes share an evaluation's questions and find what one finds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def evaluated(model: Path, folder: Path, nproc: int) -> tuple[bytes, str]:
    rows = [{"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(5)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    choices = [{"question": f"Is {n} even?", "choices": ["yes", "no"], "answer": n % 2} for n in range(7)]
    (folder / "even.jsonl").write_text("".join(json.dumps(row) + "\n" for row in choices), encoding="utf-8")
    words = ["gsm8k", "path=sums.jsonl", "shots=0", "multiple_choice", "path=even.jsonl", "--set", "block=2"]
    command = ["evaluate", str(model), *words, "--max-new-tokens", "4", "--nproc", str(nproc), "--out", f"runs/{nproc}"]
    done = subprocess.run(
        [Path(sys.executable).with_name("aftertrain"), *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (instances,) = folder.glob(f"runs/{nproc}/stages/*/samples/instances.jsonl")
    return instances.read_bytes(), done.stdout


@pytest.mark.slow
def test_two_find_the_bits_of_one(tiny_model: Path, tmp_path: Path) -> None:
    """Twelve questions in blocks of two: seven blocks, the last of which one process has alone."""
    one, two = (evaluated(tiny_model, tmp_path, nproc) for nproc in (1, 2))
    assert one[0] == two[0]
    assert "12 cases" in two[1]
    tables = [said[said.index("task  ") :].replace("runs/2", "runs/1") for _, said in (one, two)]
    assert without_speeds(tables[0]) == without_speeds(tables[1])


def without_speeds(table: str) -> list[str]:
    """Its lines, without the number of tokens a second before the identity."""
    return [" ".join(re.sub(r"[\d,]+(?= +[0-9a-f]{12}$)", "", line).split()) for line in table.splitlines()]
