"""Suites in a recipe: by name, by file, by the names of their rows; mistakes are told by the file's lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.benchmark.suite import named_tasks
from aftertrain.core.errors import RecipeError
from aftertrain.registry.recipe import LoadedRecipe, loads, shipped


def recipe(*tasks: Any, folder: Path | None = None, **stage: Any) -> LoadedRecipe:
    stages = {"e": {"use": "evaluate", "tasks": list(tasks), **stage}}
    return loads(json.dumps({"name": "x", "model": "m", "stages": stages}), folder=folder)


def names(loaded: LoadedRecipe) -> list[str]:
    settings: Any = loaded.recipe.stages["e"].settings
    return [task.name for task in named_tasks(settings.tasks)]


def test_a_suite_stands_among_tasks_and_reads_back() -> None:
    loaded = recipe({"use": "gsm8k", "path": "g.jsonl"}, "olmes", {"suite": "smoke", "rows": ["piqa::smoke"]})
    assert len(names(loaded)) == 1 + 20 + 1
    again = loads(json.dumps(loaded.dump()))
    assert again.recipe == loaded.recipe


def test_a_row_is_known_by_its_name() -> None:
    assert names(recipe("arc_challenge:mc::olmes")) == ["arc_challenge:mc::olmes"]
    assert names(recipe("arc_challenge::olmes")) == ["arc_challenge:mc::olmes", "arc_challenge:rc::olmes"]


def test_suites_are_no_recipes() -> None:
    assert not any(name.startswith("suites") for name in shipped())


def test_only_chosen_rows_decide_the_hash() -> None:
    chosen = recipe({"suite": "olmes", "rows": ["piqa::olmes"]}).recipe.stages["e"].settings.affecting()
    assert "piqa" in json.dumps(chosen)
    assert "arc_easy" not in json.dumps(chosen)


def test_references_do_not_decide_the_hash(tmp_path: Path) -> None:
    prints = []
    for value in (1, 2):
        text = f"rows: {{p::s: {{task: piqa, references: {{theirs: {value}}}}}}}\n"
        (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
        prints.append(recipe("s.yaml", folder=tmp_path).recipe.stages["e"].settings.affecting())
    assert prints[0] == prints[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rows: {p::s: {task: piqqa}}\n", r"s\.yaml:1:\d+ .*no eval_task named 'piqqa'.*Did you mean 'piqa'"),
        ("rows:\n  p::s: {task: piqa, wieght: 2}\n", r"s\.yaml:2:\d+ .*wieght.*Did you mean 'weight'"),
        ("rows:\n  p::s: {task: {use: piqa, shotz: 2}}\n", r"s\.yaml:2:\d+ .*shotz.*Did you mean 'shots'"),
        (
            "rows: {p::s: {task: piqa}}\naverage: {name: a, mean: [q::s]}\n",
            r"s\.yaml: .*a: no row named 'q::s'.*'p::s'",
        ),
        ("rows: {a: {task: piqa, formulations: {b: }}, b: {task: piqa}}\n", r"s\.yaml: .*b names two tasks"),
    ],
)
def test_a_mistake_in_a_file_is_told_by_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=told):
        recipe("s.yaml", folder=tmp_path)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"suite": "olmess"}, "no suite named 'olmess'. Did you mean 'olmes'"),
        ({"suite": "olmes", "rows": ["piqa::olme"]}, "no row named 'piqa::olme'. Did you mean 'piqa::olmes'"),
        ({"suite": "olmes", "reference": "gpt"}, "no model with published scores named 'gpt'"),
        ({"suite": "olmes", "rowz": []}, "Did you mean 'rows'"),
        ("arc_challenge:mcc::olmes", "arc_challenge:mc::olmes"),
    ],
)
def test_a_mistake_about_a_suite_names_the_nearest(task: Any, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe(task)


def test_settings_of_rows_are_set_by_name_and_of_all_that_have_them() -> None:
    loaded = recipe({"suite": "smoke", "set": {"*": {"shots": 1}, "piqa::smoke": {"shots": 3}}})
    settings: Any = loaded.recipe.stages["e"].settings
    shots = {task.name: task.use.settings.shots for task in named_tasks(settings.tasks)}
    assert shots.pop("piqa::smoke") == 3
    assert set(shots.values()) == {1}
    rows = settings.tasks[0].settings.chosen.rows
    assert rows["piqa::smoke"].changed == ("shots",)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"piqa::smok": {"shots": 1}}, "no row named 'piqa::smok'. Did you mean 'piqa::smoke'"),
        ({"*": {"shotz": 1}}, r"no setting of a task of '\*' named 'shotz'"),
        ({"piqa::smoke": {"shotz": 1}}, "not a setting of eval_task 'piqa'.*Did you mean 'shots'"),
    ],
)
def test_a_setting_that_no_row_has_is_told(changes: Any, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe({"suite": "smoke", "set": changes})


def test_a_task_of_two_suites_needs_another_name() -> None:
    with pytest.raises(RecipeError, match="piqa::smoke stands there more than once"):
        recipe("smoke", "piqa::smoke")
