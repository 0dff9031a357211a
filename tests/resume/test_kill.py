"""Real processes, really killed: what they end with is what an undisturbed run ends with, bit for bit."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from aftertrain.core.events.lines import read_events

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "resume.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """`benchmarks/resume.py` as a module, for its recipe and its comparison."""
    spec = importlib.util.spec_from_file_location("benchmarks_resume", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_dozen_kills_in_sft_dpo_and_ppo_change_no_bit(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(BENCHMARK), "--quick", "--json", str(figures), "--folder", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {row["name"]: row["ours"] for row in json.loads(figures.read_text(encoding="utf-8"))}
    assert found["differences"] == 0
    kills = [found.get(f"kills in {stage}", 0) for stage in ("sft", "dpo", "ppo")]
    assert sum(kills) == found["kills inside stages"] >= 12
    assert sum(count > 0 for count in kills) >= 2, "the kills are spread over the run"


def test_kills_while_rows_are_curated_change_no_byte(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(BENCHMARK), "--recipe", "curate", "--kills", "5", "--json", str(figures)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {row["name"]: row["ours"] for row in json.loads(figures.read_text(encoding="utf-8"))}
    assert found["differences"] == 0
    assert found["kills inside stages"] >= 5


def _start(recipe: Path, out: Path) -> subprocess.Popen[str]:
    code = "import sys; from aftertrain.cli import main; sys.exit(main())"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    override = f"stages={json.dumps({'sft': SFT})}"
    command = [sys.executable, "-c", code, "run", str(recipe), override, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


SFT = {
    "use": "train",
    "loss": {"use": "sft"},
    "data": {"use": "jsonl", "path": "sft.jsonl", "format": "gsm8k"},
    "optimizer": {"lr": 0.001},
    "batch": {"sequences": 8, "max_tokens": 128},
    "max_steps": 30,
    "epochs": 6,
    "checkpoint_every": 3,
}


def _wait_for_step(process: subprocess.Popen[str], events: Path, step: int) -> None:
    while process.poll() is None:
        if events.exists() and any(e.name == "metrics" and e.step == step for e in read_events(events)):
            return
        time.sleep(0.01)
    raise AssertionError(f"ended before step {step}: {process.communicate()}")


def _weights(run: Path) -> list[str]:
    return [hashlib.sha256(p.read_bytes()).hexdigest() for p in run.glob("stages/sft-*/model/model.safetensors")]


def test_the_command_survives_kill_and_ctrl_c_and_ends_with_the_same_bits(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    recipe = benchmark.write_recipe(tmp_path)
    whole, disturbed = tmp_path / "whole" / benchmark.NAME, tmp_path / "disturbed" / benchmark.NAME
    output, errors = _start(recipe, whole.parent).communicate(timeout=120)
    assert output.splitlines()[-1] == str(whole), errors

    process = _start(recipe, disturbed.parent)
    _wait_for_step(process, disturbed / "events.jsonl", 7)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    process = _start(recipe, disturbed.parent)
    _wait_for_step(process, disturbed / "events.jsonl", 15)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "stopped in stage sft; the same command goes on from here" in output
    assert f"Go on with: aftertrain run {recipe}" in errors
    assert "stopping after this step, with a checkpoint; once more stops at once" in errors
    assert "Traceback" not in errors

    output, errors = _start(recipe, disturbed.parent).communicate(timeout=120)
    assert "sft: train, goes on after step" in output, errors
    assert _weights(disturbed) == _weights(whole) != []
    assert benchmark.outcome(disturbed).differences(benchmark.outcome(whole)) == []
