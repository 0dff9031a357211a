"""The generator as a user names it: in a recipe and in commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main

RECIPE = """
name: sums
model: model
threads: 1
stages:
  rlvr:
    use: online
    advantages: group
    loss: grpo
    generator: {use: vllm, python: PYTHON, cache_gib: 0.25, step_tokens: 1024}
    data: {use: jsonl, path: problems.jsonl, format: rlvr}
    rewards: [{use: regex, pattern: "[a-j]{2}", equality: search}]
    checks: {gsm8k: regex}
    reward: {positive: 1.0, negative: 0.0, missing_eos: null}
    kl: {beta: 0.0}
    sampling: {max_new_tokens: 16}
    batch: {prompts: 4, samples_per_prompt: 4, updates: 1}
    steps: 3
    optimizer: {lr: 1.0e-3}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., str]) -> Callable[[str], Path]:
    """Writes the recipe for an interpreter, beside its model and problems, and works in its folder."""
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "model")
    rows = [
        {"id": f"p{i}", "messages": [{"role": "user", "content": f"{i} + {i}?"}], "ground_truth": str(2 * i)}
        for i in range(8)
    ]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps({**row, "dataset": "gsm8k"}) + "\n" for row in rows))

    def write(python: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(RECIPE.replace("PYTHON", python))
        return path

    return write


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Of each step."""
    lines = (folder / "runs" / "sums" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [line["data"] for line in map(json.loads, lines) if line["name"] == "metrics"]


@pytest.mark.slow
def test_it_learns_online(engine_python: str, recipe: Callable[[str], Path], tmp_path: Path) -> None:
    """Three steps: each with the weights of the one before, whose log-probabilities are the trainer's."""
    assert main(["run", str(recipe(engine_python))]) == 0
    steps = metrics(tmp_path)
    assert len(steps) == 3
    assert any(step["grad_norm"] > 0 for step in steps), "nothing was learnt: the test shows nothing"
    assert all(step["logprob_difference_max"] < 1e-3 for step in steps), steps


def test_plan_says_where_vllm_is_missing(
    recipe: Callable[[str], Path], make_python: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(recipe("elsewhere/bin/python"))]) != 0
    out = " ".join("".join(capsys.readouterr()).split())
    assert "elsewhere/bin/python: is not there" in out
    assert "pip install 'vllm>=0.32,<0.33'" in out
    assert main(["run", str(recipe(make_python("0.33.0")))]) != 0
    assert "has vllm 0.33.0, and aftertrain is tested with 0.32 alone" in " ".join("".join(capsys.readouterr()).split())
