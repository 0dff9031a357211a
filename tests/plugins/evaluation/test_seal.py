"""A sealed benchmark is scored on purpose only, and the model's descendants tell of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import aftertrain
from aftertrain.core.benchmark import seal
from aftertrain.core.errors import RunError
from aftertrain.core.ground.openings import Opening, keep_openings, openings

QUESTION = "which of these seven secret words of ours is the right one"


@pytest.fixture(autouse=True)
def _sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "_known", lambda: dict.fromkeys(seal.span_digests(QUESTION), "secret"))


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path) -> dict[str, Any]:
    model = shutil.copytree(tiny_model, tmp_path / "model", ignore=shutil.ignore_patterns(".*"))
    file = tmp_path / "copied.jsonl"
    rows = [{"question": f"{QUESTION}, {n}?", "choices": ["this", "that"], "answer": 0} for n in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pairs = tmp_path / "sft.jsonl"
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    pairs.write_text("".join(json.dumps({"messages": turns}) + "\n" for _ in range(4)), encoding="utf-8")
    train = {
        "use": "train",
        "loss": "sft",
        "data": {"use": "jsonl", "path": str(pairs)},
        "optimizer": {"lr": 1e-3},
        "batch": {"sequences": 2, "max_tokens": 64},
        "max_steps": 1,
    }
    first = {**train, "seed": 1}
    scores = {"use": "evaluate", "from": "first", "tasks": [{"use": "multiple_choice", "path": str(file)}], "limit": 1}
    stages = {"first": first, "scores": scores, "second": {**train, "from": "first"}}
    return {"name": "x", "model": str(model), "threads": 1, "stages": stages}


def run(recipe: dict[str, Any], out: Path) -> Any:
    path = out / "x.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    return aftertrain.run(path, out=out / "runs", console=False)


def test_without_a_reason_it_is_refused(recipe: dict[str, Any], tmp_path: Path) -> None:
    del recipe["stages"]["second"]
    with pytest.raises(RunError, match=r"sealed benchmark 'secret'.*unseal"):
        run(recipe, tmp_path)


def test_an_opening_is_kept_with_the_model_and_what_descends_from_it(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["stages"]["scores"]["unseal"] = "the last model"
    result = run(recipe, tmp_path)
    (kept,) = openings(Path(result.artifacts["first"].path))
    assert (kept.benchmark, kept.task, kept.reason, kept.run) == (
        "secret",
        "multiple_choice",
        "the last model",
        "x:scores",
    )
    assert openings(Path(result.artifacts["second"].path)) == [kept]
    assert result.artifacts["scores"].details["openings"] == [
        {
            "benchmark": "secret",
            "task": "multiple_choice",
            "reason": "the last model",
            "run": "x:scores",
            "model": kept.model,
        }
    ]
    events = [json.loads(line) for line in (result.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [e["data"]["message"] for e in events if e["name"] == "warning" and e["stage"] == "second"]
    assert any("secret was opened by x:scores" in message for message in told)
    # Once more: the model's content is what it was, so that all is reused.
    assert set(run(recipe, tmp_path).reused) == {"first", "scores", "second"}


def test_a_model_that_a_package_ships_keeps_none(tmp_path: Path) -> None:
    model = tmp_path / "package" / "model"
    model.mkdir(parents=True)
    opening = Opening("secret", "mine", "why not", "x:scores", "base")
    keep_openings(model, [opening])
    assert openings(model) == [opening]
    (tmp_path / "package" / "__init__.py").touch()
    with pytest.raises(OSError, match="part of an installed package"):
        keep_openings(model, [Opening("secret", "other", "why not", "x:scores", "base")])
