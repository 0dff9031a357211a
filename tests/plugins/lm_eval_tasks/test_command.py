"""From the command line: a task of lm-eval on a model, with what a user should know of its rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from aftertrain.cli import main


def test_evaluate_scores_a_model_on_a_task_of_lm_eval(
    wide_model: Path, hub: Path, own_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = ["lm_eval/two", f"include_path={own_files}", "lm_eval/triviaqa", "shots=0"]
    options = ["--data", str(hub), "--out", str(tmp_path / "run"), "--max-new-tokens", "4"]
    assert main(["evaluate", str(wide_model), *tasks, *options]) == 0
    told = capsys.readouterr().out
    assert "lm_eval/two       acc_norm (macro)" in told
    assert "lm_eval/triviaqa  exact_match" in told
    events = (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8")
    assert "lm_eval/two: 2 tasks. lm-eval's number is acc_norm" in events
    assert "lm_eval/triviaqa: its file sets no length of a reply" in events


def test_a_misspelt_name_ends_with_the_nearest(wide_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(wide_model), "lm_eval/arc_esy"]) != 0
    assert "did you mean 'lm_eval/arc_easy'?" in capsys.readouterr().err
