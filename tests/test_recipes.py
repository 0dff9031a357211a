"""Every shipped recipe loads, and `plan` accepts it, with a tiny model and a few local rows in place of the hub's.

Recipes are found by listing the folder, so that a new one is a test case by being there.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aftertrain
from aftertrain.core.learning.batch_plan import BatchPlan
from aftertrain.core.learning.schedule import Pace
from aftertrain.plugins.data.sources.entry import catalogue
from aftertrain.registry.recipe import LoadedRecipe, shipped
from tests.plugins.data.source_rows import ROWS as SOURCES

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "suites")
NAMES = [path.relative_to(CONFIGS).with_suffix("").as_posix() for path in FILES]

TURNS = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "2 + 2 = 4\n#### 4"}]
ROWS: dict[str, dict[str, Any]] = {
    "messages": {"messages": TURNS},
    "alpaca": {"instruction": "2 + 2?", "output": "4"},
    "gsm8k": {"question": "2 + 2?", "answer": "2 + 2 = 4\n#### 4"},
    "preference": {"chosen": TURNS, "rejected": [TURNS[0], {"role": "assistant", "content": "5"}]},
    "rlvr": {"messages": TURNS[:1], "ground_truth": "4", "dataset": "gsm8k"},
}


def hub_sources(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Dotted path and settings of every `{use: hub, …}` and `{use: source, …}` below a YAML value."""
    if isinstance(value, dict):
        if value.get("use") in ("hub", "source"):
            yield path, value
        for key, item in value.items():
            yield from hub_sources(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from hub_sources(item, f"{path}.{index}")


@pytest.fixture
def roomy_model(tmp_path: Path, tiny_model: Path) -> Path:
    """The tiny model with a context as long as the recipes ask for; nothing here reads its weights."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["max_position_embeddings"] = 8192
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def source_file(folder: Path, settings: dict[str, Any]) -> Path:
    """A file with rows of a known data set, of the parts the settings take where they name any."""
    name, taken = settings["name"], settings.get("parts", [])
    rows = SOURCES[name][0]
    values = [value for value, part in catalogue()[name].parts.items() if part in taken]
    rows = [{**row, "source": value} for row in rows for value in values] or rows
    path = folder / ("-".join([name, *taken]).replace("/", "-") + ".jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def local(tmp_path: Path, roomy_model: Path) -> Callable[[Path], LoadedRecipe]:
    """Loads a recipe with local stand-ins for what it takes from the hub."""

    def load(recipe: Path) -> LoadedRecipe:
        from ruamel.yaml import YAML

        stages = YAML(typ="safe").load(recipe.read_text(encoding="utf-8"))["stages"]
        overrides: dict[str, Any] = {"model": str(roomy_model)}
        for path, settings in hub_sources(stages, "stages"):
            if settings["use"] == "source":
                overrides[path] = {**settings, "path": str(source_file(tmp_path, settings))}
                continue
            rows = tmp_path / f"{settings['format']}-{Path(settings['path']).name}.jsonl"
            row = ROWS[settings["format"]] | ({"dataset": "MATH"} if settings["path"].endswith("-MATH") else {})
            rows.write_text((json.dumps(row) + "\n") * 4, encoding="utf-8")
            kept = {key: settings[key] for key in ("format", "as") if key in settings}
            overrides[path] = {"use": "jsonl", "path": str(rows), **kept}
        if not recipe.read_text(encoding="utf-8").count("use: hub"):
            del overrides["model"]
        return aftertrain.load_recipe(str(recipe), overrides)

    return load


def test_names_are_those_shipped() -> None:
    assert sorted(shipped()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_loads_by_name(name: str) -> None:
    """As written, by name, without looking at the hub."""
    assert aftertrain.load_recipe(name).recipe.stages


@pytest.mark.parametrize("recipe", FILES, ids=NAMES)
def test_opens_with_what_it_is_and_how_to_run_it(recipe: Path) -> None:
    lines = recipe.read_text(encoding="utf-8").splitlines()
    name = recipe.relative_to(CONFIGS).with_suffix("").as_posix()
    head = [line for line in lines[:12] if line.startswith("#")]
    assert lines[0].startswith("# ")
    assert any(f"aftertrain run {name}" in line or f"aftertrain plan {name}" in line for line in head)


@pytest.mark.parametrize("recipe", FILES, ids=NAMES)
def test_plan_accepts(recipe: Path, local: Callable[[Path], LoadedRecipe], tmp_path: Path) -> None:
    loaded = local(recipe)
    report = aftertrain.plan(loaded, out=tmp_path / "runs")
    assert {stage.name for stage in report.stages} == loaded.recipe.stages.keys()
    assert not report.errors


NOT_PUBLISHED = ("name:", "description:", "model:", "data:", "- {use:", "loss: {use: reward_model}")
"""Lines of a recipe whose digits are parts of names."""


@pytest.mark.parametrize("recipe", [path for path in FILES if "tulu3" in path.as_posix()], ids=str)
def test_each_number_of_a_published_recipe_says_where_it_is_from(recipe: Path) -> None:
    unsaid = [
        line.strip()
        for line in recipe.read_text(encoding="utf-8").splitlines()
        if re.search(r"[:\[ ]-?\d", line.partition("#")[0])
        and not line.strip().startswith(NOT_PUBLISHED)
        and not re.search(r"# .*\b(table|command|code|ours)\b", line)
    ]
    assert unsaid == []


@pytest.mark.parametrize(
    ("name", "first", "last", "optimizer_steps"),
    [
        ("tulu3/8b", 3e-7, 3e-7 * (1 - 1783 / (44_642 * 4)), 446 * 4),
        ("tulu3/70b", 0.0, 1e-7 / (625 * 4 - 250), 625 * 4),
        ("tulu3/405b", 1e-7, 1e-7 * (1 - 74 / 161), 75),
        ("tulu3.1-8b", 5e-7, 5e-7, 130 * 2),
    ],
)
def test_rates_of_the_published_rlvr_stages(name: str, first: float, last: float, optimizer_steps: int) -> None:
    """By hand: linear over the planned steps, 10,000,000 // 224 = 44,642 and 300,000 // 1,856 = 161, not those run."""
    settings = aftertrain.load_recipe(name).recipe.stages["rlvr"].settings
    total = settings.steps * settings.optimizer_steps
    assert total == optimizer_steps
    rates = [
        Pace(step, total, updates=settings.optimizer_steps).rates({"policy": settings.optimizer})["policy"]
        for step in (0, total - 1)
    ]
    assert rates == pytest.approx([first, last], rel=1e-12)


def test_full_batches_of_the_published_rlvr_stage() -> None:
    """29,946 problems are 133 full batches of 224 an epoch; 446 steps are 99,904 episodes, no short one among them."""
    batch = aftertrain.load_recipe("tulu3/8b").recipe.stages["rlvr"].settings.batch
    plan = BatchPlan(29_946, batch.prompts, 4, 3, drop_last=batch.incomplete == "drop")
    assert plan.steps_per_epoch == 133
    assert sum(len(plan.rows(step)) for step in range(446)) == 99_904


def test_seeds_of_the_published_stages() -> None:
    seeds = {
        (name, stage): aftertrain.load_recipe(name).recipe.seed_of(stage)
        for name, stages in {"tulu3/8b": ("sft", "dpo", "rm", "rlvr"), "tulu3/70b": ("sft", "rlvr")}.items()
        for stage in stages
    }
    assert list(seeds.values()) == [123, 42, 1, 3, 456, 8]
