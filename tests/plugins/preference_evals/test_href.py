"""HREF: who decides in which category, what the judge sees, and F47 beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import DataError, Unavailable
from aftertrain.core.records import Completion
from aftertrain.plugins.preference_evals.examples import EXAMPLES, LONGER, ROWS
from aftertrain.plugins.preference_evals.similarity import rouge_l
from aftertrain.testing.build import build

SEEING = '''
from aftertrain.core.records import Verdict
from aftertrain.core.settings import Settings
from aftertrain.core.verifier import Verifier

class Seeing(Verifier[Settings]):
    """A tie where it sees a person's reply; else it prefers the reply that is 'mine'; silent about '?'."""

    def verify(self, cases):
        return [self.one(case) for case in cases]

    def one(self, case):
        if "?" in (case.response, case.ground_truth["other"]):
            return Verdict.unparsable("hm")
        if case.ground_truth["reference"] is not None:
            return Verdict.scored(0.5)
        return Verdict.scored(float(case.response == "mine"))
'''


def task_of(folder: Path, categories: Sequence[str], **settings: Any) -> Any:
    file = folder / f"{ROWS['href'][0]}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    row = {**ROWS["href"][1], "output": "the Baltic sea", "reference": "mine is the North sea"}
    rows = [{**row, "category": category, "instruction": f"{n}?"} for n, category in enumerate(categories)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "seeing.py").write_text(SEEING)
    given = {"data": str(folder), "judge": {"use": f"{folder}/seeing.py:Seeing"}, **settings}
    return build("eval_task", "href", **given)


def scores_of(task: Any, replies: Sequence[str]) -> list[Any]:
    completions = [Completion("r", (1,), (2,), (0.0,), (0,), "stop", text) for text in replies]
    found: list[Any] = task.score_all(task.instances(), completions)
    return found


FOUR = ("Closed QA", "Brainstorm", "Open QA", "Fact Checking or Attributed QA")


def test_each_category_is_decided_as_published(tmp_path: Path) -> None:
    """With the person's reply a tie, without it a win, by likeness a win (2/6 to 2/8) and a loss: 2.5 of 4."""
    task = task_of(tmp_path, FOUR)
    replies = ["mine", "mine", "mine", "no"]
    scores = scores_of(task, replies)
    rate = "win_rate_by_Seeing_rouge_l"
    assert [score.metrics[rate] for score in scores] == [0.5, 1.0, 0.0, 0.0]
    assert [score.metrics["rouge_l"] for score in scores] == [rouge_l(r, "mine is the North sea") for r in replies]
    better = scores_of(task, ["mine", "mine", "mine is the sea", "North"])
    assert [score.extracted for score in better] == ["tie", "win", "win", "loss"]
    names = [figure.name for figure in task.figures()]
    assert names == [rate, f"{rate} (macro)", "rouge_l"]


def test_a_silent_judge_is_an_error_and_likeness_is_known(tmp_path: Path) -> None:
    (score, *_) = scores_of(task_of(tmp_path, ("Brainstorm", "Open QA"), order="both"), ["?", "?"])
    assert (score.outcome, score.metrics["win_rate_by_Seeing_rouge_l"]) == ("error", 0.0)


def test_bertscore_and_f47_are_named_and_shown(tmp_path: Path, tiny_model: Path) -> None:
    """H = 0.25 S + 0.75 C, question by question; with an encoder and HREF's prompt the plain name."""
    task = task_of(tmp_path, FOUR, encoder=str(tiny_model), scorer=str(tiny_model), alpha=0.25)
    for score in scores_of(task, ["mine", "a", "b", "c"]):
        s, c, h = (score.metrics[name] for name in ("bertscore_f1", "coherence", "similarity_and_coherence"))
        assert 0 <= s <= 1
        assert h == pytest.approx(0.25 * s + 0.75 * c)
    judge = {"use": "pairwise", "template": "href", "model": LONGER["model"]}
    assert task_of(tmp_path, FOUR, judge=judge, encoder=str(tiny_model)).metrics == ("win_rate", "bertscore_f1")
    assert "published rates are by Llama-3.1-70B-Instruct" in " ".join(task_of(tmp_path, FOUR, judge=judge).notes())


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="task 'href': no judge"):
        task_of(tmp_path, FOUR, judge=None).instances()
    with pytest.raises(DataError, match="no category named 'Closed Q'"):
        task_of(tmp_path, ("Closed Q",)).instances()
    assert task_of(tmp_path, FOUR).fingerprint() != task_of(tmp_path, FOUR, order="both").fingerprint()


@pytest.mark.slow
def test_a_command_scores_a_model(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The opening of a seal is kept with the model, so that it is a copy that is scored."""
    from aftertrain.cli import main

    made: Any = EXAMPLES["eval_task", "href"]
    made(tmp_path)
    (tmp_path / "seeing.py").write_text(SEEING)
    words = ["href", f"judge={tmp_path}/seeing.py:Seeing", "max_new_tokens=4", "--data", str(tmp_path)]
    words += ["--set", "unseal=a test"]
    model = shutil.copytree(tiny_model, tmp_path / "model")
    assert main(["evaluate", str(model), *words, "--out", str(tmp_path / "run")]) == 0
    assert "win_rate_by_Seeing_rouge_l" in capsys.readouterr().out
