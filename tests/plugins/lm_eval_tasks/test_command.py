"""From the command line: a task of lm-eval on a model, with what a user should know of its rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aftertrain.cli import main


def test_evaluate_scores_a_model_on_a_task_of_lm_eval(
    wide_model: Path, hub: Path, own_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = ["lm_eval/two", f"include_path={own_files}", "lm_eval/triviaqa", "shots=0"]
    options = ["--data", str(hub), "--out", str(tmp_path / "run"), "--max-new-tokens", "4", "--limit", "4"]
    files = ["--results", str(tmp_path / "results.json"), "--results", str(tmp_path / "card.md")]
    assert main(["evaluate", str(wide_model), *tasks, *options, *files]) == 0
    told = capsys.readouterr().out
    assert "lm_eval/two       acc_norm (macro)" in told
    assert "lm_eval/triviaqa  exact_match" in told
    events = (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8")
    assert "lm_eval/two: 2 tasks. lm-eval's number is acc_norm" in events
    assert "lm_eval/triviaqa: its file sets no length of a reply" in events
    check_results(tmp_path)


def check_results(folder: Path) -> None:
    """What was written is read by lm-eval's own function, and says what the scores are."""
    from lm_eval.utils import make_table

    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert set(results["results"]) == {"two", "triviaqa"}
    entry = results["results"]["two"]
    assert entry["sample_len"] == 4
    assert 0 <= entry["acc_norm (macro),none"] <= 1
    assert results["n-samples"] == {
        "triviaqa": {"original": 4, "effective": 4},
        "two": {"original": 12, "effective": 4},
    }
    assert results["configs"]["triviaqa"]["use"] == "lm_eval/triviaqa"
    table = make_table(results).replace(" ", "")
    assert f"|acc_norm||{entry['acc_norm,none']:.2f}|±|{entry['acc_norm_stderr,none']:.4f}|" in table
    first, _, *rows = (folder / "card.md").read_text(encoding="utf-8").splitlines()
    assert first == "| task | shots | metric | score | 95 % | n | contamination | fingerprint |"
    assert rows[0].startswith("| lm_eval/two |  | acc_norm (macro) | ")
    assert rows[1].startswith("| lm_eval/triviaqa | 0 | exact_match | 0.0 | 0.0 – ")


def test_a_name_that_says_no_form_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "nowhere", "gsm8k", "--results", "scores.txt"]) == 1
    assert "scores.txt: results are written by the end of a file's name, .json or .md" in capsys.readouterr().err


def test_a_misspelt_name_ends_with_the_nearest(wide_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(wide_model), "lm_eval/arc_esy"]) != 0
    assert "did you mean 'lm_eval/arc_easy'?" in capsys.readouterr().err
