"""`aftertrain plan MODEL TASK…`: tokens, minutes, what is missing, and what the questions could show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aftertrain.cli.plan import plan
from aftertrain.plugins.unseen.examples import SCIENCE


def call(*words: object) -> Result:
    return CliRunner().invoke(plan, list(map(str, words)))


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    rows = [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(400)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_an_evaluation_costs_and_shows(tiny_model: Path, sums: Path) -> None:
    """400 questions of 10 tokens a reply: 4,000 at most, a minute at 100 a second beside what is read."""
    words = ("gsm8k", f"path={sums}", "shots=0", "chat=false", "--max-new-tokens", 10, "--rate", "1e9/100")
    result = call(tiny_model, *words, "--detect", "5pt", "--limit", 300)
    assert result.exit_code == 0, result.output
    header, row, *rest = result.output.splitlines()
    assert header.split("  ")[-1].strip() == "n for 5pt"
    cells = [cell.strip() for cell in row.split("  ") if cell.strip()]
    assert (cells[0], cells[1], cells[3], cells[4]) == ("gsm8k", "300 of 400", "3,000", "0.5")
    assert cells[5:8] == ["5.1 pt", "8.8 pt", "10.2 pt"], "at d of 0.1, 0.3 and 0.4"
    assert cells[8] == "940, more than the 400 there are"
    assert rest[0].startswith("1 of 1 tasks can be run: ")
    assert rest[-1] == "--limit 940 asks for enough; gsm8k has fewer"


def test_what_is_missing_is_told_for_each_task(tiny_model: Path, sums: Path, tmp_path: Path) -> None:
    words = ("gsm8k", f"path={sums}", "shots=0", "piqa", "--data", tmp_path)
    result = call(tiny_model, *words)
    assert result.exit_code == 0
    assert "piqa: missing: " in result.output
    assert "needs ybisk/piqa/plain_text/validation.jsonl" in result.output
    assert "minutes need a rate" in result.output
    assert call(tiny_model, "piqa", "--data", tmp_path).exit_code == 1


def test_a_prompt_beyond_the_context_keeps_a_task_from_running(tiny_model: Path, tmp_path: Path) -> None:
    """As `evaluate` refuses it; the task is not counted among those that can be run."""
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"question": "What is 1 + 1? " * 2_000, "answer": "#### 2"}) + "\n", encoding="utf-8")
    result = call(tiny_model, "gsm8k", f"path={path}", "shots=0", "chat=false")
    assert "gsm8k: missing: the longest prompt has " in result.output
    assert "0 of 1 tasks can be run" in result.output
    assert result.exit_code == 1


def test_a_gate_and_a_seal_are_told(tiny_model: Path, tmp_path: Path) -> None:
    gate = "needs Idavidrein/gpqa/gpqa_main/train.jsonl"
    cure = "gated: accept its terms at huggingface.co/datasets/Idavidrein/gpqa, then 'hf auth login'"
    result = call(tiny_model, "gpqa", "--data", tmp_path)
    assert (gate in result.output, cure in result.output) == (True, True)
    write_science(tmp_path)
    assert "a reason to score the sealed benchmark 'gpqa'" in call(tiny_model, "gpqa", "--data", tmp_path).output
    opened = call(tiny_model, "gpqa", "--data", tmp_path, "--unseal", "the final model")
    assert opened.exit_code == 0, opened.output
    assert "1 of 1 tasks can be run" in opened.output


def write_science(folder: Path) -> None:
    file = folder / "Idavidrein/gpqa/gpqa_main/train.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(SCIENCE) + "\n", encoding="utf-8")


def test_repeated_ids_are_told(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"id": id_, "question": "Sky?", "choices": ["blue", "red"], "answer": 0} for id_ in "abab"]
    path = tmp_path / "sky.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    result = call(tiny_model, "multiple_choice", f"path={path}")
    assert result.exit_code == 0, result.output
    assert "2 rows have the id of an earlier one: each is scored, under an id with a number ('a-2')" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gsm8k", "path=x", "--detect", "much"), "a difference is given in points, as in 2pt"),
        (("gsm8k", "path=x", "--rate", "fast"), "as READ/WRITE, as in 20000/900"),
        (("a.b=1", "--limit", "3"), "belong to: aftertrain plan MODEL TASK"),
        (("gsm9k", "path=x"), "Did you mean 'gsm8k'"),
    ],
)
def test_what_is_wrong_is_told(tiny_model: Path, words: tuple[str, ...], message: str) -> None:
    result = call(tiny_model, *words)
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)
