"""The benchmarks that need a GPU or much time still run: with tiny shapes, here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

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
    assert len(rows) == 13
    for row in rows:
        assert row["tokens_per_second"] > 0, row
        assert row["mfu"] > 0, row
        assert row["note"] == "attention sdpa"
        # an untrained model over 512 tokens: log 512 = 6.24; an untrained pair: log 2 at a margin of 0
        assert row["loss"] == pytest.approx(0.69 if "dpo" in row["label"] else 6.24, abs=0.15), row


def test_the_gpu_table_of_online_steps_has_every_case(tmp_path: Path) -> None:
    rows = run("online_gpu.py", "--dry-run", "--quick", out=tmp_path / "rows.json")
    assert len(rows) == 3
    for row in rows:
        assert min(row[name] for name in ("generate", "update", "publish", "update_mfu", "step_mfu")) > 0, row
        assert row["note"].startswith("attention sdpa, "), row


def test_a_plan_beside_tokenising(tmp_path: Path) -> None:
    (row,) = run("plan.py", "--rows", "20", out=tmp_path / "rows.json")
    assert row["name"] == "plan of 20 rows vs tokenising them"
    assert row["ratio"] == row["peer"] / row["ours"]
    assert min(row["ours"], row["peer"]) > 0


def test_the_head_beside_full_logits(tmp_path: Path) -> None:
    sizes = ("--tokens", "64", "--hidden", "16", "--vocabulary", "1000", "--times", "1")
    names = {row["name"] for row in run("loss_head.py", *sizes, out=tmp_path / "rows.json")}
    assert {"time vs full logits", "memory vs full logits", "time vs checkpointed chunks"} <= names


def test_the_trainers_of_trl_have_our_losses(tmp_path: Path, tiny_model: Path, shared_data: Path) -> None:
    """Two steps of each case on the same samples: losses within 1e-5 of TRL's, before and after an update."""
    pytest.importorskip("trl", reason="trl is not installed")
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    cases = ("sft-packing", "sft-padding_free", "dpo-cached", "reward")
    sizes = ("--only", ",".join(cases), "--steps", "1", "--rows", "8")
    rows = run("train.py", *sizes, "--model", str(model), "--data", str(shared_data), out=tmp_path / "rows.json")
    differences = {row["name"]: row["ours"] for row in rows if "difference" in row["name"]}
    assert list(differences) == [f"{case}: largest difference of losses" for case in cases]
    assert max(differences.values()) < 1e-5, differences


def test_growth_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two curves that double: the last point of the larger lies at the top, 190 below is the axis."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from growth_plot import Curve, draw

    drawn = ElementTree.fromstring(draw([1, 2], "size", [("rate", [Curve("a", [4, 8]), Curve("b", [2, 4])])]))
    points = [line.get("points") for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    assert points == ["62.0,129.0 362.0,34.0", "62.0,176.5 362.0,129.0"]
