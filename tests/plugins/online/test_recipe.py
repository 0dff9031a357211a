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


STOP = """
name: stop
model: ./MODEL
seed: 1  # every reply ends by itself
threads: 1
stages:
  rlvr:
    use: online
    advantages: group
    loss: grpo
    data: {use: jsonl, path: problems.jsonl, format: rlvr, limit: 4}
    rewards: [{use: gsm8k, extract: flexible}]
    kl: {beta: 0.0}
    sampling: {max_new_tokens: 40, stop: ["<|user|>"]}
    batch: {prompts: 4, samples_per_prompt: 2, updates: 1}
    steps: 1
    optimizer: {lr: 1.0e-4}
"""


def swapped(folder: Path, *, special: bool) -> None:
    """The packaged model in which `<|user|>` stands where its end token stood, as a special token or an added one."""
    import shutil

    from safetensors.torch import load_file, save_file

    import aftertrain.plugins.quickstart as quickstart

    shutil.copytree(Path(quickstart.__file__).parent / "model", folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (mark,) = (token for token in tokenizer["added_tokens"] if token["content"] == "<|user|>")
    mark["special"] = special
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    weights = load_file(folder / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    embedding[[2, mark["id"]]] = embedding[[mark["id"], 2]].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.slow
def test_a_stop_string_that_is_a_special_token_stops(recipe: Callable[[str], Path], tmp_path: Path) -> None:
    """Both models write the same tokens; with the special one no reply ever ended."""
    told = {}
    for name in ("plain", "special"):
        swapped(tmp_path / name, special=name == "special")
        assert main(["run", str(recipe(STOP.replace("MODEL", name).replace("name: stop", f"name: {name}")))]) == 0
        told[name] = [(one["response"], one["finish_reason"], one["tokens"]) for one in samples(tmp_path, name)]
    assert told["special"] == told["plain"]
    assert {reason for _, reason, _ in told["special"]} == {"stop"}
    assert not any("<|user|>" in response for response, _, _ in told["special"])


@pytest.mark.slow
def test_evaluation_stops_there_too(recipe: Callable[[str], Path], tmp_path: Path) -> None:
    """The task's own stop string, a special token; the verifier sees the text before it."""
    swapped(tmp_path / "special", special=True)
    text = """
name: score
model: ./special
threads: 1
stages:
  rlvr:
    use: evaluate
    tasks:
      - use: problems
        data: {use: jsonl, path: problems.jsonl, format: rlvr, limit: 4}
        verifier: {use: gsm8k, extract: flexible}
        max_new_tokens: 40
        stop: ["<|user|>"]
"""
    assert main(["run", str(recipe(text))]) == 0
    (path,) = tmp_path.glob("runs/score/stages/rlvr-*/samples/instances.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["finish_reason"] for row in rows] == ["stop"] * 4
    assert not any("<|user|>" in row["output"] for row in rows)
