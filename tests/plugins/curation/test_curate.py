"""The stage `curate` from a recipe: rows through operators of a file beside it, read by the stages after it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

from aftertrain.cli import main
from aftertrain.core.rows.folder import read_rows

OPERATORS = '''
from collections.abc import Mapping
from dataclasses import replace

from aftertrain.core.operator import Dropped, Filter, Operator, Row, Scorer
from aftertrain.core.settings import Settings


class Odd(Filter[Settings]):
    """Leaves out what a digest calls odd."""

    Config = Settings

    def dropped(self, row: Row) -> Dropped | None:
        return row.drop("odd", characters=len(row.text)) if len(row.text) % 2 else None


class Length(Scorer[Settings]):
    """Counts characters."""

    Config = Settings

    def facts(self, row: Row) -> Mapping[str, int]:
        return {"characters": len(row.text)}


class Again(Operator[Settings]):
    """Makes a second row of some, and knows how many there are in all."""

    Config = Settings
    learns = True

    def learn(self, rows, state, seed):
        (state / "count").write_text(str(sum(1 for _ in rows)))

    def recall(self, state):
        self.count = int((state / "count").read_text())

    def apply(self, rows, seed):
        for row in rows:
            yield row
            if row.random(seed).random() < 0.2:
                record = replace(row.record, id=f"{row.id}/again")
                yield replace(row, record=record, origin=(row.id,), facts={**row.facts, "of": self.count})


class Loses(Operator[Settings]):
    """Loses the first row."""

    Config = Settings

    def apply(self, rows, seed):
        yield from list(rows)[1:]
'''
RECIPE = """
name: curated
model: package:aftertrain.plugins.quickstart/model
stages:
  curate:
    use: curate
    data: {{use: quickstart, split: sft, rows: 90}}
    operators: [{operators}]
    shard_rows: 20
    format: {format}
    workers: {workers}
  sft:
    use: train
    data: {{use: stage, from: curate}}
    loss: sft
    batch: {{sequences: 16}}
    optimizer: {{lr: 1.0e-3}}
    max_steps: 2
"""
ALL = "./ops.py:Odd, ./ops.py:Length, ./ops.py:Again"


def recipe(folder: Path, operators: str = ALL, format: str = "jsonl", workers: int = 1) -> Path:
    (folder / "ops.py").write_text(OPERATORS, encoding="utf-8")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(operators=operators, format=format, workers=workers), encoding="utf-8")
    return path


def artifact(folder: Path) -> Path:
    (found,) = (folder / "runs" / "curated" / "stages").glob("curate-*/data")
    return found


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((artifact(folder) / "rows").iterdir())}


@pytest.mark.slow
def test_rows_go_through_operators_and_into_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is kept and what is left out add up, and the rows are those that `datasets` loads and `train` trains on."""
    assert main(["run", str(recipe(tmp_path)), "--out", str(tmp_path / "runs")]) == 0
    told = capsys.readouterr()
    folder = artifact(tmp_path)
    contents = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for shard in shards(tmp_path).values() for line in shard.splitlines()]
    funnel = json.loads((folder / "funnel.json").read_text(encoding="utf-8"))
    odd = sum(funnel["passages"]["Odd"]["dropped"]["odd"].values())
    made = sum(funnel["passages"]["Again"]["made"].values())
    assert len(rows) == sum(shard["rows"] for shard in contents["shards"]) == 90 - odd + made
    assert 0 < odd < 90
    assert made > 0
    assert f"{odd} dropped: Odd: odd" in told.out + told.err
    again = [row for row in rows if row["origin"]]
    assert {row["history"][-1] for row in again} == {"Again"}
    facts = json.loads(again[0]["facts"])
    assert facts["Again.of"] == 90 - odd
    assert facts["Length.characters"] % 2 == 0
    loaded = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["id"] == [row["id"] for row in rows]
    assert f"{90 - odd + made} rows: 32 learnt" in told.out + told.err


@pytest.mark.slow
def test_workers_change_no_byte(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for name, workers in (("one", 1), ("two", 2)):
        path = recipe(tmp_path / name, workers=workers)
        assert main(["run", str(path), "--out", str(tmp_path / name / "runs")]) == 0
    assert shards(tmp_path / "one") == shards(tmp_path / "two")


def test_a_lost_row_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recipe(tmp_path, operators="./ops.py:Loses")
    assert main(["run", str(path), "--out", str(tmp_path / "runs")]) != 0
    told = capsys.readouterr()
    assert "operator 'Loses' lost 1 of 20 rows, the first 'quickstart-sft-" in told.out + told.err


def test_a_plan_says_what_is_not_made_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe(tmp_path))]) == 0
    told = capsys.readouterr().out
    assert "curate: rows not made yet" in told
    assert "90 in 5 shards" in told


def test_a_stage_that_makes_no_rows_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recipe(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("from: curate", "from: sft"), encoding="utf-8")
    assert main(["plan", str(path)]) != 0
    told = capsys.readouterr()
    assert "stages.sft.data.from" in told.out + told.err


@pytest.mark.slow
def test_a_script_without_a_guard_may_run_it(tmp_path: Path) -> None:
    """Its workers do not run the script again."""
    path = recipe(tmp_path, operators="./ops.py:Length", workers=2)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index("  sft:")], encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(
        f"import aftertrain\nprint('once')\naftertrain.run({str(path)!r}, out={str(tmp_path / 'runs')!r})\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("once") == 1
    assert len(shards(tmp_path)) == 5


MIXED = """
name: curated
stages:
  first:
    use: curate
    data: {use: quickstart, split: sft, rows: 12}
    operators: [./ops.py:Length, ./ops.py:Again]
  curate:
    use: curate
    data:
      use: mixture
      parts:
        - {data: {use: stage, from: first}, rows: 10}
        - {data: {use: rounds, of: [{use: stage, from: first}, {use: stage, from: first}]}, rows: 20}
        - {data: {use: quickstart, split: sft, rows: 3, seed: 5}, rows: 3}
"""


def test_rows_keep_what_is_known_of_them_through_mixtures_and_rounds(tmp_path: Path) -> None:
    """Those of a stage their facts, history and origin, under a second id too; those of a source have none."""
    recipe(tmp_path).write_text(MIXED, encoding="utf-8")
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "runs")]) == 0
    (first,) = (tmp_path / "runs" / "curated" / "stages").glob("first-*/data")
    known = {row.id: row for row in read_rows(first)}
    mixed = list(read_rows(artifact(tmp_path)))
    assert len({row.id for row in mixed}) == len(mixed) == 33
    made = [row for row in mixed if row.facts]
    assert len(made) == 30
    for row in made:
        before = known[row.id.partition("#")[0]]
        assert (row.facts, row.history, row.origin) == (before.facts, before.history, before.origin)
        assert row.facts["Length.characters"] == len(row.text)
    assert any("#" in row.id for row in made)
    assert any(row.origin for row in made)
