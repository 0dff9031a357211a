"""The operator from a recipe: rows that hold evaluation items are left out with the evidence, and figures are told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main

ASKED = "Ann has seven red apples and buys four more on Monday. How many apples does Ann have in all?"
RECIPE = """
name: clean
stages:
  curate:
    use: curate
    data: {{use: jsonl, path: rows.jsonl, format: {format}}}
    operators: [{{use: decontaminate, {settings}}}]
    shard_rows: 2
    workers: {workers}
"""


def run(folder: Path, settings: str, *, format: str = "prompt_response", workers: int = 1) -> int:
    recipe = RECIPE.format(settings=settings, format=format, workers=workers)
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "runs")])


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    (data,) = (folder / "runs" / "clean" / "stages").glob("curate-*/data")
    paths = sorted((data / name).glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        {"id": "clean", "prompt": "What is a red apple?", "response": ASKED},  # the reply is no user's turn
        {"id": "listed", "prompt": "1. " + ASKED.replace(". ", ".\n2. "), "response": "11"},
        {"id": "part", "prompt": "Ann has seven red apples and buys four more plums", "response": "yes"},
        {"id": "upper", "prompt": f"Solve: {ASKED.upper()}", "response": "11"},
    ]
    write(tmp_path / "rows.jsonl", rows)
    write(tmp_path / "asked.jsonl", [{"id": "q1", "question": ASKED}])
    return tmp_path


def test_rows_with_an_item_are_left_out_with_the_evidence(folder: Path) -> None:
    assert run(folder, "files: [asked.jsonl]", workers=2) == 0
    assert [row["id"] for row in lines(folder, "rows")] == ["clean", "part"]
    dropped = {row["id"]: row for row in lines(folder, "dropped")}
    assert {row["reason"] for row in dropped.values()} == {"evaluation item"}
    evidence = json.loads(dropped["upper"]["evidence"])
    assert (evidence["evaluation"], evidence["item"], evidence["share"]) == ("asked", "q1", 1.0)
    assert evidence["shared"] == [ASKED.upper()[:-1]]
    (data,) = (folder / "runs" / "clean" / "stages").glob("curate-*/data")
    funnel = json.loads((data / "funnel.json").read_text(encoding="utf-8"))
    figures = funnel["passages"]["decontaminate"]["figures"]
    assert figures["asked"] == {
        "items": 1,
        "not testable": 0.0,
        "found": 1,
        "as a whole": 0,
        "C(s), mean, by n": {"8": 1.0},
        "C(s)": 1.0,
        "items of n tokens": {"8": 1},
        "C(D)": 1.0,
        "contaminated sources": ["rows"],
    }


def test_rows_may_be_kept_with_what_was_found(folder: Path) -> None:
    assert run(folder, "files: [asked.jsonl], found: keep") == 0
    facts = {row["id"]: json.loads(row["facts"] or "{}") for row in lines(folder, "rows")}
    assert facts == {
        "clean": {},
        "listed": {"decontaminate.items": ["asked/q1"]},
        "part": {},
        "upper": {"decontaminate.items": ["asked/q1"]},
    }


def test_tasks_are_looked_for_and_a_missing_one_stops(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data.yaml").write_text("gsm8k: {file: gsm8k.jsonl}", encoding="utf-8")
    write(folder / "gsm8k.jsonl", [{"question": ASKED, "answer": "#### 11"}, {"question": "Six?", "answer": "#### 6"}])
    settings = "data: ., against: [gsm8k, popqa]"
    assert run(folder, settings) == 1
    assert "task 'popqa' needs" in capsys.readouterr().err
    assert run(folder, f"{settings}, missing: drop") == 0
    assert [row["id"] for row in lines(folder, "rows")] == ["clean", "part"]


def test_something_must_be_looked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "rule: tulu3") == 2
    assert "name what is looked for" in capsys.readouterr().err


@pytest.mark.skipif("AFTERTRAIN_DATA" not in os.environ, reason="needs the shared data")
@pytest.mark.parametrize("rule", ["tulu3", "robust"])
def test_planted_rows_are_left_out_and_no_other(rule: str, tmp_path: Path) -> None:
    data = Path(os.environ["AFTERTRAIN_DATA"]) / "contamination"
    recipe = RECIPE.format(
        settings=f"files: [{data / 'eval_prompts.jsonl'}], rule: {rule}", format="messages", workers=1
    )
    recipe = recipe.replace("rows.jsonl", str(data / "train.jsonl.gz")).replace("shard_rows: 2", "shard_rows: 2000")
    (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "runs")]) == 0
    truth = [json.loads(line) for line in (data / "ground_truth.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["id"] for row in lines(tmp_path, "dropped")} == {row["id"] for row in truth}
    assert len(lines(tmp_path, "rows")) == 4_940


def test_nothing_of_a_stage_stays_in_the_process(folder: Path) -> None:
    """What finds modules beside a recipe was left in the import system, and asked by every later import."""
    before = list(sys.meta_path)
    assert run(folder, "files: [asked.jsonl]") == 0
    assert sys.meta_path == before
