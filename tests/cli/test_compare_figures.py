"""`aftertrain compare RUN FILE`: macro means, pass@k and figures of a corpus, of both sides from what each has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aftertrain
from aftertrain.api.comparing import compare
from aftertrain.cli import main


def saved(run: Path) -> list[dict[str, Any]]:
    (file,) = run.rglob("samples/instances.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def theirs(run: Path, of: Callable[[int, dict[str, Any]], dict[str, Any]]) -> Path:
    """A file of lm-eval's samples: the prompts of our run, one a question, and what `of` adds."""
    rows = {row["id"]: row for row in saved(run)}
    lines = []
    for place, row in enumerate(rows.values()):
        asked = {"gen_args_0": {"arg_0": row["prompt"], "arg_1": {"until": [], "do_sample": False}}}
        lines.append({"doc_id": place, "doc": {}, "arguments": asked, "resps": [["x"]], **of(place, row)})
    file = run.parent / "samples_theirs.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_a_macro_mean_is_of_groups_on_both_sides(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Theirs are right in 1 of 2 and in 1 of 1: (1/2 + 1)/2 = 0.75 where the mean over questions is 2/3."""
    file = tmp_path / "hub" / "cais/mmlu/all/test.jsonl"
    file.parent.mkdir(parents=True)
    subjects = ("ice", "ice", "fire")
    rows = [{"question": f"{n}?", "choices": list("abcd"), "answer": 0, "subject": s} for n, s in enumerate(subjects)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"use": "mmlu_cot", "chat": False, "max_new_tokens": 4}
    run = tmp_path / "run"
    aftertrain.evaluate(tiny_model, [task], data=str(tmp_path / "hub"), out=run)
    assert not any(row["metrics"]["exact_match"] for row in saved(run))
    other = theirs(run, lambda place, row: {"exact_match": float(place != 1)})
    found = compare(run, other)
    macro, micro = (found.scores["mmlu_cot", name, 0.0] for name in ("exact_match (macro)", "exact_match"))
    assert [cell and cell.mean for cell in macro] == [0.0, 0.75]
    assert [cell and cell.mean for cell in micro] == [0.0, pytest.approx(2 / 3)]
    rows_of = {row.metric: row for row in found.differences[str(other)]}
    assert (rows_of["exact_match (macro)"].mean, rows_of["exact_match (macro)"].n) == (0.75, 3)
    assert found.headlines == {("mmlu_cot", "exact_match (macro)")}
    assert rows_of["exact_match"].p_holm is None
    assert len(found.flips[str(other)]) == 2
    assert main(["compare", str(run), str(other)]) == 0
    assert "exact_match (macro)" in capsys.readouterr().out


def test_pass_at_k_is_paired_by_question(tiny_model: Path, tmp_path: Path) -> None:
    """Ours by three samples of each of two problems, theirs as their file has it."""
    problems = tmp_path / "problems.jsonl"
    rows = [{"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(2)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"use": "jsonl", "path": str(problems), "format": "gsm8k", "as": "problem"}
    task = {"use": "problems", "data": data, "verifier": "gsm8k", "samples": 3, "max_new_tokens": 4}
    run = tmp_path / "run"
    aftertrain.evaluate(tiny_model, [task], temperatures=[1.0], out=run)
    names = {score["metric"] for score in aftertrain.evaluate(tiny_model, [task], temperatures=[1.0], out=run)}
    assert "pass@3" in names
    other = theirs(run, lambda place, row: {"pass@3": float(place)})
    found = compare(run, other)
    (key,) = [key for key in found.scores if key[1] == "pass@3"]
    assert [cell and cell.mean for cell in found.scores[key]] == [0.0, 0.5]
    (row,) = [row for row in found.differences[str(other)] if row.metric == "pass@3"]
    assert (row.mean, row.n) == (0.5, 2)


def test_one_task_by_two_names_is_paired(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks of one fingerprint are one task; one that differs in its questions has another."""
    files = {name: tmp_path / f"{name}.jsonl" for name in ("even", "odd")}
    for name, file in files.items():
        rows = [{"question": f"Is {n} {name}?", "choices": ["yes", "no"], "answer": n % 2} for n in range(5)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    even = {"use": "multiple_choice", "path": str(files["even"])}
    odd = {**even, "name": "odd", "path": str(files["odd"])}
    aftertrain.evaluate(tiny_model, [even, odd], out=tmp_path / "a")
    renamed, changed = {**even, "name": "even::mini"}, {**odd, "question_prefix": "Q: "}
    aftertrain.evaluate(tiny_model, [renamed, changed], out=tmp_path / "b")
    found = compare(tmp_path / "a", tmp_path / "b")
    assert list(found.scores) == [("multiple_choice", "acc", None)]
    assert all(cell is not None and cell.n == 5 for cell in found.scores["multiple_choice", "acc", None])
    (difference,) = found.differences["b:evaluate"]
    assert (difference.task, difference.mean, difference.n) == ("multiple_choice", 0.0, 5)
    assert found.unlike == {"b:evaluate": ("odd",)}
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    told = capsys.readouterr().out
    assert "call tasks of one identity differently, which are paired: multiple_choice with even::mini" in told
