"""Suites as a user runs them: by the command, on a real small model; and what their files say of others' scores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

import aftertrain
from aftertrain.api.finished import finished_evaluation
from aftertrain.cli import main
from aftertrain.core.benchmark.outline import Node, SuiteOutline
from aftertrain.registry.document import read

SUITES = Path(__file__).parents[3] / "src" / "aftertrain" / "configs" / "suites"
MAP = Path(__file__).parents[2] / "shared_data.yaml"


def outline(name: str) -> SuiteOutline:
    path = SUITES / f"{name}.yaml"
    plain: dict[str, Any] = read(path.read_text(encoding="utf-8"), str(path)).plain()
    for row in plain["rows"].values():
        row["tasks"] = row.pop("formulations", None) or {"task": row["task"]}
        del row["task"]
    return SuiteOutline.model_validate({"name": name, **plain})


def nodes(node: Node) -> Iterator[Node]:
    yield node
    for part in node.parts:
        if isinstance(part, Node):
            yield from nodes(part)


def published(suite: SuiteOutline, part: str | Node, model: str) -> float:
    """What the paper's own rows make, without rounding in between."""
    if isinstance(part, str):
        return suite.rows[part].references[model]
    return mean(published(suite, each, model) for each in part.parts)


def test_published_averages_are_those_of_the_published_rows() -> None:
    suite = outline("tulu3-dev")
    averages = [node for node in nodes(suite.tree) if node.references]
    assert [len(node.references) for node in averages] == [8, 8]
    assert len(suite.models) == 8
    for node in averages:
        for model, value in node.references.items():
            # Rows are rounded to a tenth, so that a mean of them may be off by half of one, and by its own rounding.
            assert abs(published(suite, node, model) - value) <= 0.1, (node.name, model)


def test_a_row_of_a_suite_is_shown_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "openai" / "gsm8k" / "main" / "test.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text('{"question": "What is 1 + 1?", "answer": "#### 2"}\n', encoding="utf-8")
    model = "package:aftertrain.plugins.quickstart/model"
    assert main(["show", "prompt", "gsm8k::tulu", "--data", str(tmp_path), "--model", model]) == 0
    assert "What is 1 + 1?" in capsys.readouterr().out
    assert main(["show", "prompt", "arc_easy::olmes", "--data", str(tmp_path)]) == 1
    assert "name one: arc_easy:mc::olmes, arc_easy:rc::olmes" in capsys.readouterr().err


@pytest.fixture
def benchmarks(shared_data: Path, tmp_path: Path) -> Path:
    """A folder of all that the shared data have."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    for owner in (shared_data / "hub").iterdir():
        if owner.is_dir():
            (folder / owner.name).symlink_to(owner)
    (folder / "data.yaml").write_text(MAP.read_text().replace("SHARED", str(shared_data)))
    return folder


@pytest.fixture
def smollm2(tmp_path: Path) -> str:
    """A folder of links, so that what is opened with the model is not kept with everybody's."""
    model = os.environ.get("AFTERTRAIN_SMOLLM2")
    if not model:
        pytest.skip("AFTERTRAIN_SMOLLM2 is not set: it names a Hugging Face folder of SmolLM2-135M")
    folder = tmp_path / "smollm2"
    folder.mkdir()
    for file in Path(model).iterdir():
        if not file.name.startswith("."):
            (folder / file.name).symlink_to(file)
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "limit", "scored", "rows"),
    [("smoke", 4, 5, 5), ("olmes", 1, 10, 10), ("tulu3-dev", 1, 6, 17), ("tulu3-unseen", 1, 3, 7)],
)
def test_a_suite_runs_end_to_end(
    suite: str,
    limit: int,
    scored: int,
    rows: int,
    benchmarks: Path,
    smollm2: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["evaluate", smollm2, suite, "--data", str(benchmarks), "--limit", str(limit)]
    replies = [] if suite == "olmes" else ["--chat-template", "tulu", "--max-new-tokens", "8"]
    opened = ["--unseal", "a test of the house"] if suite == "tulu3-unseen" else []
    assert main([*command, *replies, *opened, "--out", str(tmp_path / "run")]) == 0
    table = capsys.readouterr().out.rpartition(f"\n{suite}\n")[2]
    assert f"{scored} of {rows} rows" in table
    assert aftertrain.suites(tmp_path / "run")[suite][0].of == (scored, rows)


@pytest.mark.slow
def test_gold_answers_of_all_that_is_shared_are_scored(
    benchmarks: Path, smollm2: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And MATH-500 is answered, whose worked examples are nobody's to pass on."""
    gold = ("gsm8k", "humaneval", "math_500", "mbpp", "naturalqs")
    tasks = [word for name in gold for word in ("gold_bits", f"name={name}", f"benchmark={name}", "shots=0")]
    math = ["minerva_math", "benchmark=math500", "shots=0"]
    options = ["--data", str(benchmarks), "--limit", "1", "--max-new-tokens", "4", "--chat-template", "tulu"]
    assert main(["evaluate", smollm2, *tasks, *math, *options, "--out", str(tmp_path / "run")]) == 0
    rows = {line.split()[0] for line in capsys.readouterr().out.splitlines() if " bits_per_byte " in line}
    assert rows >= set(gold)
    scores = {score.task: score for score in finished_evaluation(tmp_path / "run").scores if score.primary}
    assert scores.keys() == {*gold, "minerva_math"}
    assert all(0.1 < (scores[name].mean or 0.0) < 5 for name in gold), "bits per byte of English by a small model"
