"""Online stages as a user runs them: a recipe and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main

GRADED = """
name: graded
model: package:aftertrain.plugins.quickstart/model
threads: 1
stages:
  rlvr:
    use: online
    advantages: group
    loss: grpo
    data: {use: jsonl, path: problems.jsonl, format: rlvr, limit: 4}
    rewards:
      - use: weighted
        parts:
          - {verifier: {use: format, tags: [], max_words: 6}, weight: 0.3}
          - {verifier: {use: gsm8k, extract: flexible}, weight: 0.7}
    checks: {gsm8k: weighted}
    reward: {positive: 1.0, negative: 0.0, missing_eos: null}
    kl: {beta: 0.0}
    sampling: {max_new_tokens: 24}
    batch: {prompts: 4, samples_per_prompt: 8, updates: 1}
    steps: 1
    optimizer: {lr: 1.0e-4}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes a recipe beside sums, `problems.jsonl`, and works in its folder."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for i in range(16):
        a, b = i % 9 + 1, (i * 7) % 9 + 1
        question = f"Ann has {a} apples and buys {b} more. How many apples does Ann have?"
        messages = [{"role": "user", "content": question}]
        rows.append({"id": f"p{i}", "messages": messages, "ground_truth": str(a + b), "dataset": "gsm8k"})
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write


def samples(folder: Path, name: str) -> list[dict[str, Any]]:
    (path,) = folder.glob(f"runs/{name}/stages/rlvr-*/samples/step-00001.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_a_graded_score_is_paid_as_it_stands(recipe: Callable[[str], Path], tmp_path: Path) -> None:
    """`weighted` gives 0, 0.3, 0.7 and 1; 0.3 and 0.7 were paid 0."""
    assert main(["run", str(recipe(GRADED))]) == 0
    records = samples(tmp_path, "graded")
    assert {record["verdicts"][0]["value"] for record in records} & {0.3, 0.7}
    assert [record["reward"] for record in records] == [record["verdicts"][0]["value"] for record in records]


def test_plan_says_what_a_value_earns(recipe: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = recipe(GRADED)
    main(["plan", str(path)])
    assert "1 earns 1, 0 earns 0, between them in proportion (0.5 earns 0.5)" in " ".join(
        capsys.readouterr().out.split()
    )
    main(["plan", str(path), "stages.rlvr.reward.threshold=0.7"])
    assert "a verdict's value of 0.7 or more earns 1, a lower one 0" in " ".join(capsys.readouterr().out.split())
