"""A judge is its model's files, not the path that leads to them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from aftertrain.api.evaluation import build_verifier
from aftertrain.registry.recipe import loads


def content(model: Path) -> str:
    return build_verifier(
        "judge",
        {"model": str(model), "template": "{{ response }}", "parse": {"pattern": "(yes)", "labels": {"yes": 1.0}}},
    ).content()


def test_other_weights_at_the_same_place_are_another_judge(tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "judge")
    before = content(model)
    assert content(tiny_model) == before
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert content(model) != before
    assert content(tmp_path / "nowhere") == ""
    assert build_verifier("gsm8k").content() == ""


def test_a_stage_of_rewards_and_a_task_are_redone_for_another_judge(tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "judge")
    judge = {
        "use": "judge",
        "model": str(model),
        "template": "{{ response }}",
        "parse": {"pattern": "(yes)", "labels": {"yes": 1.0}},
    }
    data = {"use": "quickstart", "split": "problems", "rows": 2}
    stages: dict[str, Any] = {
        "online": {
            "use": "online",
            "loss": "grpo",
            "data": data,
            "rewards": [judge],
            "advantages": "group",
            "kl": {"place": "loss"},
            "batch": {"prompts": 2, "samples_per_prompt": 2},
            "optimizer": {"lr": 1e-5},
            "steps": 1,
        },
        "eval": {"use": "evaluate", "tasks": [{"use": "problems", "data": data, "verifier": judge, "check": "gsm8k"}]},
    }
    loaded = loads(json.dumps({"name": "x", "model": str(tiny_model), "stages": stages}))

    def prints() -> dict[str, Any]:
        return {name: loaded.builder.build(use).fingerprints() for name, use in loaded.recipe.stages.items()}

    before = prints()
    assert prints() == before
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    after = prints()
    assert all(after[name] != before[name] for name in stages)
