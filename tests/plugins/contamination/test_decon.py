"""decon as an operator: a stand-in, and the real one where AFTERTRAIN_DECON_PYTHON names an interpreter that has it.

The stand-in has decon's calls and its report, and finds questions that stand in a row word for word.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path

import pytest

from aftertrain.cli import main
from tests.plugins.contamination.test_decontaminate import ASKED, lines, write

STAND_IN = r"""
import json, re
from pathlib import Path

__version__ = "0.0"


def clean_text(text):
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


class Config:
    def __init__(self, **options):
        self.options = options


def detect(config):
    asked = config.options
    report = Path(asked["report_output_dir"])
    report.mkdir()
    rows = [json.loads(line)["text"] for line in Path(asked["training_dir"], "rows.jsonl").read_text().splitlines()]
    items = [json.loads(line) for file in sorted(Path(asked["evals_dir"]).iterdir()) for line in file.open()]
    with (report / "rows.jsonl").open("w") as file:
        for number, text in enumerate(rows):
            for item in items:
                words = clean_text(item["question"])
                if len(words.split()) >= asked["eval_min_token_length"] and words in clean_text(text):
                    match = {"training_line": number, "contamination_score": 1.0, "training_overlap_text": words}
                    kept = {key: item[key] for key in ("eval_key", "eval_instance_index")}
                    file.write(json.dumps({**match, **kept, "eval_question_text": words}) + "\n")
"""


def interpreter(folder: Path, module: str) -> Path:
    """One that has this as the module `decon`."""
    (folder / "packages").mkdir()
    (folder / "packages" / "decon.py").write_text(module, encoding="utf-8")
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "packages"} exec {sys.executable} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program


def run(folder: Path, settings: str) -> int:
    (folder / "recipe.yaml").write_text(
        "name: clean\nstages:\n  curate:\n    use: curate\n"
        "    data: {use: jsonl, path: rows.jsonl, format: prompt_response}\n"
        f"    operators: [{{use: decon, {settings}}}]\n    shard_rows: 2\n",
        encoding="utf-8",
    )
    return main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "runs")])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        {"id": "clean", "prompt": "What is a red apple?", "response": ASKED},  # the reply is no user's turn
        {"id": "copied", "prompt": f"Solve: {ASKED}", "response": "11"},
        {"id": "other", "prompt": "Is it so?", "response": "yes"},
        {"id": "again", "prompt": ASKED.upper(), "response": "11"},
    ]
    write(tmp_path / "rows.jsonl", rows)
    write(tmp_path / "asked.jsonl", [{"id": "q0", "question": "Is it so?"}, {"id": "q1", "question": ASKED}])
    return tmp_path


def test_rows_that_it_names_are_left_out_with_the_evidence(folder: Path) -> None:
    """Rows and items are joined by the lines and numbers of its report; what it finds no copy of is not testable."""
    python = interpreter(folder, STAND_IN)
    assert run(folder, f"files: [asked.jsonl], python: {python}, fewest_tokens: 10") == 0
    assert [row["id"] for row in lines(folder, "rows")] == ["clean", "other"]
    dropped = {row["id"]: json.loads(row["evidence"]) for row in lines(folder, "dropped")}
    assert dropped.keys() == {"copied", "again"}
    assert {(found["evaluation"], found["item"], found["how"]) for found in dropped.values()} == {
        ("asked", "q1", "decon")
    }
    (data,) = (folder / "runs" / "clean" / "stages").glob("curate-*/data")
    figures = json.loads((data / "funnel.json").read_text(encoding="utf-8"))["passages"]["decon"]["figures"]
    assert figures["asked"] == {"items": 2, "not testable": 0.5, "found": 1}
    assert figures["rule"] == "decon 0.0"


def test_an_interpreter_without_it_is_named_with_the_cure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, f"files: [asked.jsonl], python: {sys.executable}") != 0
    assert (
        f"operator 'decon': {sys.executable} has no decon (ModuleNotFoundError: No module named 'decon'): python3.12"
        in capsys.readouterr().err
    )
    assert run(folder, "files: [asked.jsonl], python: ./nothing") != 0
    assert "nothing cannot be started" in capsys.readouterr().err


def test_a_failure_of_it_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = interpreter(folder, STAND_IN.replace("    report.mkdir()", "    raise RuntimeError('no tokens')"))
    assert run(folder, f"files: [asked.jsonl], python: {python}") != 0
    assert "RuntimeError: no tokens" in capsys.readouterr().err


def test_the_real_one_finds_what_is_planted(shared_data: Path, tmp_path: Path) -> None:
    """57 of the 60 planted rows by its own defaults, each with its item, and no other row."""
    python = os.environ.get("AFTERTRAIN_DECON_PYTHON")
    if not python:
        pytest.skip("AFTERTRAIN_DECON_PYTHON is not set: it names an interpreter (Python 3.12) that has decontaminate")
    planted = shared_data / "contamination"
    with gzip.open(planted / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    write(tmp_path / "rows.jsonl", rows)
    (tmp_path / "recipe.yaml").write_text(
        "name: clean\nstages:\n  curate:\n    use: curate\n    data: {use: jsonl, path: rows.jsonl, format: messages}\n"
        f"    operators: [{{use: decon, files: [{planted / 'eval_prompts.jsonl'}], python: {python}}}]\n",
        encoding="utf-8",
    )
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "runs")]) == 0
    truth = {}
    for line in (planted / "ground_truth.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        truth[row["id"]] = (row["eval_set"], row["eval_id"])
    found = {row["id"]: json.loads(row["evidence"]) for row in lines(tmp_path, "dropped")}
    assert {id_: (flag["evaluation"], flag["item"]) for id_, flag in found.items()}.items() <= truth.items()
    assert len(found) == 57
    (data,) = (tmp_path / "runs" / "clean" / "stages").glob("curate-*/data")
    figures = json.loads((data / "funnel.json").read_text(encoding="utf-8"))["passages"]["decon"]["figures"]
    # decon's own summary of these 471 items: 16 are below its fewest tokens.
    assert sum(round(figures[name]["not testable"] * figures[name]["items"]) for name in ("gsm8k_test", "ifeval")) == 16
