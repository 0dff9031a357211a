"""The tasks (F44) by the commands: what a model would see, and a model scored."""

from __future__ import annotations

from pathlib import Path

import pytest

from aftertrain.cli import main
from aftertrain.plugins.tulu.examples import ROWS, SETTINGS, lay_out


def test_show_prompt_writes_a_task_with_its_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay_out(tmp_path, "bbh")
    out = tmp_path / "out.jsonl"
    task = ["bbh", "tasks=[navigate]", "chat=false", "--data", str(tmp_path)]
    assert main(["show", "prompt", *task, "--all", "--out", str(out)]) == 0, capsys.readouterr().err
    (first, _) = out.read_text(encoding="utf-8").splitlines()
    assert "Given a series of navigation instructions" in first
    assert first.count("So the answer is ") == 3


@pytest.mark.slow
def test_a_model_is_scored_on_all_from_one_folder(tmp_path: Path, tiny_model: Path) -> None:
    import aftertrain

    for name in ROWS:
        lay_out(tmp_path / "hub", name)
    tasks = [{"use": name, "shots": 0, "chat": False, "max_new_tokens": 4, **SETTINGS.get(name, {})} for name in ROWS]
    scores = aftertrain.evaluate(tiny_model, tasks, data=str(tmp_path / "hub"), out=tmp_path / "run")
    first = {score["task"]: score["metric"] for score in scores if score["primary"]}
    assert first == {
        "mmlu_cot": "exact_match (macro)",
        "popqa": "contains",
        "bbh": "exact_match",
        "drop": "f1",
        "minerva_math": "exact_match_flex (macro)",
    }
    assert all(score["n"] == 2 for score in scores)


def test_an_old_recipe_is_told_the_new_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "old.yaml"
    data = "{use: jsonl, path: a.jsonl, format: gsm8k, as: problem}"
    recipe.write_text(
        f"name: old\nmodel: m\nstages:\n  eval:\n    use: evaluate\n    tasks: [{{use: gsm8k, data: {data}}}]\n"
    )
    assert main(["plan", str(recipe)]) != 0
    told = capsys.readouterr()
    assert "a data set of problems is the setting 'problems' now" in told.err + told.out
