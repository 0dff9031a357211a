"""Who reads the rows of a stage: training, validation, a mixture, online stages, evaluation; lineage and replay."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aftertrain.cli import main

OPERATORS = '''
from aftertrain.core.operator import Dropped, Filter, Row
from aftertrain.core.settings import Settings


class Odd(Filter[Settings]):
    """Leaves out what is odd."""

    def dropped(self, row: Row) -> Dropped | None:
        return row.drop("odd") if len(row.text) % 2 else None
'''
RECIPE = """
name: readers
model: package:aftertrain.plugins.quickstart/model
threads: 1
stages:
  talks:
    use: curate
    data: {use: quickstart, split: sft, rows: 60}
    operators: [length, ./ops.py:Odd]
    format: parquet
    workers: 1
  again:
    use: curate
    data: {use: stage, from: talks}
    operators: [{use: threshold, fact: length.words, at_least: 1}]
    workers: 1
  asked: {use: curate, data: {use: quickstart, split: problems, rows: 24}, operators: [length], workers: 1}
  sft:
    use: train
    data:
      use: mixture
      parts:
        - {data: {use: stage, from: again}, weight: 1}
        - {data: {use: quickstart, split: sft, rows: 30, seed: 3}, weight: 1}
    validation: {data: {use: stage, from: again}, rows: 8}
    loss: sft
    optimizer: {lr: 1.0e-3}
    batch: {sequences: 8, max_tokens: 128}
    max_steps: 2
  rl:
    use: online
    from: sft
    data: {use: stage, from: asked}
    rewards: [gsm8k]
    advantages: group
    sampling: {max_new_tokens: 8}
    batch: {prompts: 2, samples_per_prompt: 2, micro_tokens: 1024}
    optimizer: {lr: 1.0e-4}
    steps: 1
  scores:
    use: evaluate
    from: rl
    tasks: [{use: problems, data: {use: stage, from: asked}, verifier: gsm8k, max_new_tokens: 8}]
    limit: 4
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a recipe that was run."""
    folder = tmp_path_factory.mktemp("readers")
    (folder / "ops.py").write_text(OPERATORS)
    (folder / "recipe.yaml").write_text(RECIPE)
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "runs")]) == 0
    return folder


@pytest.mark.slow
def test_each_reader_is_done_and_its_lineage_names_the_stage(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list((done / "runs/readers/stages").glob("*/done.json"))) == 6
    assert main(["lineage", str(done / "runs/readers")]) == 0
    told = capsys.readouterr().out
    for line in ("data.parts.0.data.from (again): ", "validation.data.from (again): ", "tasks.0.data.from (asked): "):
        assert f"\n  {line}" in told


@pytest.mark.slow
def test_what_was_found_stays_with_the_rows_from_stage_to_stage(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "rows", f"{done / 'runs/readers'}:again", "-n", "1"]) == 0
    assert "\nlength.words: " in capsys.readouterr().out


@pytest.mark.slow
def test_the_plan_and_its_views_see_the_rows(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, out = str(done / "recipe.yaml"), str(done / "runs")
    assert main(["plan", recipe, "--out", out]) == 0
    told = capsys.readouterr().out
    assert told.count(": done already") == 6
    assert "60 in 1 shard, by 1 process\n" in told


@pytest.mark.slow
def test_a_step_on_such_rows_is_replayed(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", f"{done / 'runs/readers'}:rl", "--step", "1"]) == 0
    assert capsys.readouterr().out


@pytest.mark.slow
def test_a_changed_operator_redoes_the_stage_and_those_that_read_it(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stage that does not read it is reused, and the plan says why the others are not."""
    folder = shutil.copytree(done, tmp_path / "copy")
    (folder / "ops.py").write_text(OPERATORS.replace("% 2", "% 3"))
    assert main(["plan", str(folder / "recipe.yaml"), "--out", str(folder / "runs")]) == 0
    told = capsys.readouterr().out
    assert "code of ops.py changed" in told
    assert "unknown: talks: rows not made yet" in told
    assert "unknown: again: rows not made yet" in told
    stages = {block.split()[0]: block for block in told.split("\n\n") if block.strip()}
    assert "done already" in stages["asked"]
    assert "done already" not in stages["sft"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("{use: stage, from: asked}", "{use: stage, from: askde}"), "no stage named 'askde'. Did you mean 'asked'?"),
        (("{use: stage, from: talks}", "{use: stage, from: sft}"), "stages.again.data.from"),
        (
            ("{use: quickstart, split: sft, rows: 60}", "{use: stage, from: again}"),
            "wait for one another: talks -> again -> talks",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    change: tuple[str, str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ops.py").write_text(OPERATORS)
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace(*change))
    assert main(["plan", str(tmp_path / "recipe.yaml")]) == 2
    assert said in capsys.readouterr().err
