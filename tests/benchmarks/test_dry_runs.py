"""The benchmarks that need a GPU or much time still run: with tiny shapes, here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *words: str, out: Path) -> list[dict[str, Any]]:
    """The rows that a benchmark writes."""
    command = [sys.executable, BENCHMARKS / script, *words, "--json", out]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows: list[dict[str, Any]] = json.loads(out.read_text())
    return rows


def test_the_gpu_table_has_every_case(tmp_path: Path) -> None:
    rows = run("train_gpu.py", "--dry-run", "--steps", "1", out=tmp_path / "rows.json")
    assert len(rows) == 10
    for row in rows:
        assert row["tokens_per_second"] > 0, row
        assert row["mfu"] > 0, row
        assert row["note"] == "attention sdpa"
        # an untrained model over 512 tokens: log 512 = 6.24; an untrained pair: log 2 at a margin of 0
        assert row["loss"] == pytest.approx(0.69 if "dpo" in row["label"] else 6.24, abs=0.15), row


def test_the_head_beside_full_logits(tmp_path: Path) -> None:
    sizes = ("--tokens", "64", "--hidden", "16", "--vocabulary", "1000", "--times", "1")
    names = {row["name"] for row in run("loss_head.py", *sizes, out=tmp_path / "rows.json")}
    assert {"time vs full logits", "memory vs full logits", "time vs checkpointed chunks"} <= names
