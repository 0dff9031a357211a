"""AlpacaEval 2: pairs in a drawn order or in both, win rates by hand, and what a judge's silence leaves."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import Unavailable
from aftertrain.core.records import Completion
from aftertrain.plugins.preference_evals.examples import EXAMPLES, LONGER, ROWS
from aftertrain.testing.build import build

FIRST = '''
from aftertrain.core.records import Verdict
from aftertrain.core.settings import Settings
from aftertrain.core.verifier import Verifier

class First(Verifier[Settings]):
    """Prefers what it sees first, 0.8 to 0.2; says nothing of a reply '?'."""

    def verify(self, cases):
        silent = lambda case: "?" in (case.response, case.ground_truth["other"])
        return [Verdict.unparsable("hm") if silent(case) else Verdict.scored(0.8) for case in cases]
'''


def reply(text: str) -> Completion:
    return Completion("r", (1,), (2,), (0.0,), (0,), "stop", text)


def task_of(folder: Path, n: int = 12, **settings: Any) -> Any:
    """A task over `n` rows, by a JSON list as AlpacaEval publishes its baseline."""
    row = ROWS["alpaca_eval"][1]
    rows = [{**row, "instruction": f"Name sea {number}."} for number in range(n)]
    (folder / "baseline.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    (folder / "data.yaml").write_text("alpaca_eval: {file: baseline.json.gz}\n")
    (folder / "first.py").write_text(FIRST)
    given = {"data": str(folder), "judge": {"use": f"{folder}/first.py:First"}, **settings}
    return build("eval_task", "alpaca_eval", **given)


def scores_of(task: Any, replies: Sequence[str]) -> list[Any]:
    found: list[Any] = task.score_all(task.instances(), [reply(text) for text in replies])
    return found


def test_the_order_is_drawn_by_the_question(tmp_path: Path) -> None:
    """A judge that prefers what stands first: 0.8 where the reply does, 0.2 where the baseline's does."""
    task = task_of(tmp_path)
    turned = [task.turned(instance) for instance in task.instances()]
    assert 3 <= sum(turned) <= 9
    values = [score.metrics["win_rate_by_First"] for score in scores_of(task, ["a"] * 12)]
    assert values == pytest.approx([0.2 if turn else 0.8 for turn in turned])
    assert [task_of(tmp_path, seed=1).turned(i) for i in task.instances()] != turned
    assert task_of(tmp_path, seed=1).fingerprint() != task.fingerprint()


def test_in_both_orders_a_judge_of_places_ties(tmp_path: Path) -> None:
    (score, *_) = scores_of(task_of(tmp_path, order="both"), ["a"] * 12)
    assert score.metrics == pytest.approx({"win_rate_by_First": 0.5, "discrete_win_rate_by_First": 0.5, "length": 1.0})


def test_what_the_judge_does_not_say_is_no_loss(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    silent, *_ = scores_of(task, ["?"] + ["a"] * 11)
    assert (silent.outcome, silent.parts["judged"], silent.metrics["length"]) == ("error", False, 1.0)


def test_rates_by_hand(tmp_path: Path) -> None:
    """The longer reply wins; the baseline's has 11 characters: of six replies three win, one ties."""
    task = task_of(tmp_path, 6, judge=LONGER, order="both")
    scores = [[score] for score in scores_of(task, ["x" * n for n in (1, 5, 11, 12, 20, 30)])]
    figures = {figure.name: figure for figure in task.figures()}
    assert list(figures) == [
        "win_rate_by_pairwise",
        "length_controlled_minimal_by_pairwise",
        "discrete_win_rate_by_pairwise",
        "length",
    ]
    win_rate = sum(figures["win_rate_by_pairwise"].value(of_one) for of_one in scores) / 6
    assert win_rate == pytest.approx(3.5 / 6)
    controlled = figures["length_controlled_minimal_by_pairwise"].corpus
    assert controlled is not None
    assert 0.2 < controlled(scores) < 0.8


def test_the_length_controlled_rate_is_withheld_with_one_of_its_prompts(tmp_path: Path) -> None:
    """Nothing says how far one preference moves a regression; the plain rate is over the others, with its bounds."""
    from types import SimpleNamespace

    from aftertrain.plugins.evaluation.outputs import row_of
    from aftertrain.plugins.evaluation.summary import scores

    task = task_of(tmp_path, 40)
    ready: Any = SimpleNamespace(
        name="t", temperatures=(0.0,), figures=task.figures(), withhold_above=0.05, fingerprint="f", task=task
    )

    def table(replies: Sequence[str]) -> dict[str, Any]:
        outputs = [reply(text) for text in replies]
        rows = zip(task.instances(), outputs, task.score_all(task.instances(), outputs), strict=True)
        made = scores([ready], [row_of("t", 0.0, *each, sample=0, prompt="") for each in rows])
        return {row.metric.removesuffix("_by_First"): row for row in made}

    whole, lacking = table(["a" * n for n in range(1, 41)]), table(["?", *("a" * n for n in range(2, 41))])
    assert whole["length_controlled_minimal"].mean is not None
    controlled, plain = lacking["length_controlled_minimal"], lacking["win_rate"]
    assert (controlled.withheld, controlled.mean, controlled.n, controlled.of) == (True, None, 39, 40)
    assert (plain.withheld, plain.n, plain.of) == (False, 39, 40)
    assert plain.highest - plain.lowest == pytest.approx(1 / 40)


def test_the_published_prompt_has_the_plain_names_and_says_who_judges(tmp_path: Path) -> None:
    judge = {"use": "pairwise", "template": "alpaca_eval", "model": LONGER["model"]}
    task = task_of(tmp_path, judge=judge)
    assert task.metrics == ("win_rate", "discrete_win_rate", "length")
    told = " ".join(task.notes())
    assert "published rates are by gpt-4-1106-preview" in told
    assert "a preference is 0 or 1" in told
    gamed = tmp_path / "df_gamed.csv"
    gamed.write_text("index,preference,std_delta_len,instruction_difficulty\n0,0.5,0.1,0.3\n")
    assert task_of(tmp_path, judge=judge, gamed=str(gamed)).figures()[0].name == "length_controlled_win_rate"


def test_without_a_judge_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="task 'alpaca_eval': no judge"):
        task_of(tmp_path, judge=None).instances()


def test_the_published_baseline_is_read_as_it_is(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(
        f"alpaca_eval: {{file: {shared_data}/alpaca_eval/gpt4_1106_preview_outputs.json.gz}}\n"
    )
    instances = build("eval_task", "alpaca_eval", data=str(tmp_path), judge=LONGER).instances()
    assert (len(instances), instances[804].id, instances[0].group) == (805, "804", "helpful_base")


@pytest.mark.slow
def test_a_command_compares_a_model_with_the_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from aftertrain.cli import main

    made: Any = EXAMPLES["eval_task", "alpaca_eval"]
    made(tmp_path)
    (tmp_path / "first.py").write_text(FIRST)
    words = ["alpaca_eval", f"judge={tmp_path}/first.py:First", "max_new_tokens=8", "--data", str(tmp_path)]
    assert main(["evaluate", LONGER["model"], *words, "--out", str(tmp_path / "run")]) == 0
    assert "win_rate_by_First" in capsys.readouterr().out
