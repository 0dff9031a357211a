"""The tasks in the stage `evaluate`: the stage's folder reaches those that read one, and a model is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.benchmark.source import with_folder
from aftertrain.core.errors import RecipeError
from aftertrain.core.eval_task import EvalTaskSettings
from aftertrain.core.settings import Use
from aftertrain.plugins.olmes.examples import EXAMPLES
from aftertrain.plugins.olmes.settings import OlmesSettings
from aftertrain.registry.recipe import loads


def test_a_folder_is_for_tasks_that_read_one_and_have_none() -> None:
    bare: Use[object] = Use("eval_task", "piqa", OlmesSettings())  # type: ignore[type-var]
    own: Use[object] = Use("eval_task", "piqa", OlmesSettings(data="/mine"))  # type: ignore[type-var]
    other: Use[object] = Use("eval_task", "none", EvalTaskSettings(name="a"))  # type: ignore[type-var]
    assert with_folder(bare, "/all").settings == OlmesSettings(data="/all")
    assert with_folder(own, "/all") is own
    assert with_folder(other, "/all") is other
    assert with_folder(bare, None) is bare


@pytest.mark.parametrize("task", ["gsm8k", "truthfulqa", "multiple_choice", "perplexity"])
def test_a_folder_does_nothing_beside_a_file(task: str) -> None:
    """It is not handed on to a task that has its rows, and does nothing where there are no other tasks."""

    def stage(**settings: Any) -> Any:
        stages = {"e": {"use": "evaluate", "tasks": [{"use": task, "path": "rows.jsonl", **settings}]}}
        loaded = loads(json.dumps({"name": "x", "model": "m", "stages": stages}))
        return loaded.builder.build(loaded.recipe.stages["e"])

    (use,) = stage().settings.tasks
    assert with_folder(use, "/all") is use
    assert stage().without_use()["data"].reason == "no task reads a benchmark of the hub"
    with pytest.raises(RecipeError, match="'path' gives the rows"):
        stage(data="/mine")


@pytest.mark.slow
def test_a_model_is_scored_on_all_from_one_folder(tmp_path: Path, tiny_model: Path) -> None:
    import aftertrain

    names = [name for _, name in EXAMPLES]
    for make in EXAMPLES.values():
        make(tmp_path / "hub")
    tasks = [
        {"use": name, "name": f"{name}-{form}", "shots": 0, "formulation": form[:2], "chat": form == "mc-chat"}
        for name in names
        for form in ("mc", "rc", "mc-chat")
    ]
    scores = aftertrain.evaluate(tiny_model, tasks, data=str(tmp_path / "hub"), out=tmp_path / "run")
    first = {score["task"]: score["metric"] for score in scores if score["primary"]}
    assert len(first) == 30
    assert (first["mmlu-rc"], first["csqa-rc"], first["csqa-mc"]) == ("acc_per_char (macro)", "acc_uncond", "acc_raw")
    assert all(score["n"] == 2 for score in scores)
    cost = {score["task"]: score["mean"] for score in scores if score["metric"] == "bits_per_byte"}
    assert len(cost) == 30
    assert all(bits > 0 for bits in cost.values())
