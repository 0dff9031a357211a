"""What the scores say: the sentence, the words beside a difference, and the blind choice of problems."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aftertrain.core.statistics import holm
from aftertrain.plugins.report.facts import Difference
from aftertrain.plugins.report.instances import GROUPS, Instances
from aftertrain.plugins.report.outcome import (
    Comparison,
    all_comparisons,
    comparisons,
    main_series,
    score_series,
    sentence,
    steps,
)
from aftertrain.plugins.report.reading import read_run


def rows(folder: Path, stage: str, temperature: float) -> dict[str, float]:
    """Accuracy by id, read without the code under test."""
    (file,) = folder.glob(f"stages/{stage}-*/samples/instances.jsonl")
    found = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
    return {row["id"]: row["metrics"]["accuracy"] for row in found if row["temperature"] == temperature}


def instances_of(folder: Path) -> Instances:
    return Instances({stage.name: stage.folder for stage in read_run(folder).stages})


def test_series_are_per_task_metric_and_temperature(full_run: Path) -> None:
    run = read_run(full_run)
    series = score_series(run.scores, instances_of(full_run))
    assert [(one.metric, one.temperature, len(one.scores)) for one in series] == [
        ("accuracy", 0.0, 4), ("length", 0.0, 4), ("accuracy", 1.0, 4), ("length", 1.0, 4),
    ]  # fmt: skip
    assert [one.share for one in series] == [True, False, True, False]
    assert [one.condition for one in main_series(series)] == ["greedy", "temperature 1"]


def test_replies_to_one_question_are_one_value(full_run: Path, tmp_path: Path) -> None:
    """Each reply three times over: as many questions, the same difference and p-value as of one reply each."""
    copy = tmp_path / "run"
    shutil.copytree(full_run, copy)
    for file in copy.glob("stages/*/samples/instances.jsonl"):
        lines = file.read_text(encoding="utf-8").splitlines()
        file.write_text("".join(f"{line}\n" * 3 for line in lines), encoding="utf-8")
    run = read_run(full_run)
    differences = []
    for folder in (full_run, copy):
        instances = instances_of(folder)
        differences.append(comparisons(run, score_series(run.scores, instances)[0], instances)[-1].difference)
    assert differences[0] == differences[1]


def test_a_question_counts_by_its_replies_with_a_verdict(full_run: Path, tmp_path: Path) -> None:
    """Each reply three times over, the third without a verdict: as one reply; a question with none is out."""
    copy = tmp_path / "run"
    shutil.copytree(full_run, copy)
    lost = next(iter(rows(full_run, "base-eval", 0.0)))
    for file in copy.glob("stages/*/samples/instances.jsonl"):
        written = []
        for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
            broken = {**row, "outcome": "error", "metrics": dict.fromkeys(row["metrics"], 0.0)}
            written += [broken, broken, broken] if row["id"] == lost else [row, row, broken]
        file.write_text("".join(json.dumps(row) + "\n" for row in written), encoding="utf-8")
    run, instances = read_run(full_run), instances_of(copy)
    found = comparisons(run, score_series(run.scores, instances)[0], instances)[-1].difference
    before, after = rows(full_run, "base-eval", 0.0), rows(full_run, "rlvr-eval", 0.0)
    kept = [after[id_] - before[id_] for id_ in before if id_ != lost]
    assert (found.n, found.unjudged) == (len(before) - 1, 1)
    assert found.mean == pytest.approx(sum(kept) / len(kept))


def test_either_side_may_name_the_clusters(full_run: Path, tmp_path: Path) -> None:
    """Of the first evaluation alone, or of the last one alone."""
    found = []
    for named in ("base-eval", "rlvr-eval"):
        copy = tmp_path / named
        shutil.copytree(full_run, copy)
        (file,) = copy.glob(f"stages/{named}-*/samples/instances.jsonl")
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        order = {id_: place for place, id_ in enumerate(dict.fromkeys(line["id"] for line in lines))}
        written = [{**line, "cluster": f"p{order[line['id']] // 4}"} for line in lines]
        file.write_text("".join(json.dumps(line) + "\n" for line in written), encoding="utf-8")
        run, instances = read_run(full_run), instances_of(copy)
        found.append(comparisons(run, score_series(run.scores, instances)[0], instances)[-1].difference)
    assert found[0] == found[1]
    assert found[0].clusters == -(-found[0].n // 4)


def test_a_run_says_what_is_no_share(full_run: Path) -> None:
    """Bits per byte below 1 look like one."""
    run = read_run(full_run)
    scores = [replace(score, share=False) for score in run.scores if score.metric == "accuracy"]
    (greedy, _) = score_series(scores, instances_of(full_run))
    assert not greedy.share
    assert "%" not in greedy.write(0.81)


def test_first_against_last_is_computed_from_the_replies(full_run: Path) -> None:
    run, instances = read_run(full_run), instances_of(full_run)
    found = comparisons(run, score_series(run.scores, instances)[0], instances)
    assert [(c.difference.stage, c.difference.against, c.computed) for c in found] == [
        ("sft-eval", "base-eval", False),
        ("dpo-eval", "sft-eval", False),
        ("rlvr-eval", "dpo-eval", False),
        ("rlvr-eval", "base-eval", True),
    ]
    before, after = rows(full_run, "base-eval", 0.0), rows(full_run, "rlvr-eval", 0.0)
    expected = sum(after[id_] - before[id_] for id_ in before) / len(before)
    assert found[-1].difference.mean == pytest.approx(expected)
    assert found[-1].difference.low < expected < found[-1].difference.high
    assert found[-1].difference.n == len(before)


def test_evaluations_of_different_questions_are_not_compared(full_run: Path) -> None:
    run, instances = read_run(full_run), instances_of(full_run)
    first, *others = run.scores
    series = score_series([replace(first, fingerprint="other"), *others], instances)[0]
    assert series.mixed
    assert not any(c.computed for c in comparisons(run, series, instances))
    assert sentence(run, [series], {series: []}).startswith("No evaluation")


@pytest.mark.parametrize(
    ("mean", "p", "bounds", "words"),
    [
        (0.1, 0.01, (0.1, 0.1), "a rise"),
        (-0.1, 0.0499, (-0.2, -0.05), "a fall"),
        (-0.1, 0.0499, (None, None), "no difference shown: the 7 that could not be judged may decide it"),
        (0.1, 0.05, (0.1, 0.1), "no difference shown"),
        (0.1, None, (0.1, 0.1), "no difference shown (no p-value)"),
        (0.1, 0.01, (-0.01, 0.2), "no difference shown: the 7 that could not be judged may decide it"),
    ],
)
def test_words_follow_the_adjusted_p(
    mean: float, p: float | None, bounds: tuple[float | None, float | None], words: str
) -> None:
    """The interval lies on one side of 0 in each of them."""
    low, high = sorted((mean / 2, 2 * mean))
    found = Difference("t", "m", 0.0, "a", mean, low, high, 10, None, None, 7, *bounds, p=p, stage="b")
    assert Comparison(found).verdict == words


def test_p_values_computed_here_are_adjusted_together(full_run: Path) -> None:
    run, instances = read_run(full_run), instances_of(full_run)
    shown = main_series(score_series(run.scores, instances))
    alone = [c.difference.p for one in shown for c in comparisons(run, one, instances) if c.computed]
    every = [c for found in all_comparisons(run, shown, instances).values() for c in found]
    together = [c.difference.adjusted for c in every if c.computed]
    assert together == holm([p for p in alone if p is not None])
    assert len(together) == 2


def test_the_sentence_is_made_of_the_figures(full_run: Path) -> None:
    run, instances = read_run(full_run), instances_of(full_run)
    shown = main_series(score_series(run.scores, instances))
    compared = {one: comparisons(run, one, instances) for one in shown}
    greedy, sampled = ([f"{100 * score.mean:.1f}\u202f%" for score in one.scores] for one in shown)
    assert sentence(run, shown, compared) == (
        f"From base to rlvr, accuracy on problems rose from {greedy[0]} to {greedy[-1]} greedy "
        f"and from {sampled[0]} to {sampled[-1]} at temperature 1."
    )
    assert steps(run, shown, compared).startswith("Stage by stage, sft against base: +")


def test_a_change_within_the_noise_is_not_called_a_rise(full_run: Path) -> None:
    run, instances = read_run(full_run), instances_of(full_run)
    series = score_series(run.scores, instances)[0]
    first, last = series.scores[0], replace(series.scores[-1], mean=series.scores[0].mean + 0.01)
    short = replace(series, scores=(first, last))
    noise = Difference("problems", "accuracy", 0.0, "base-eval", 0.01, -0.05, 0.07, 60, p=0.4, stage="rlvr-eval")
    assert "did not measurably change" in sentence(run, [short], {short: [Comparison(noise)]})


def test_problems_are_grouped_by_first_and_last_model(full_run: Path) -> None:
    chosen = instances_of(full_run).choose(["base-eval", "sft-eval", "rlvr-eval"], "problems", "accuracy", 1.0, 8)
    assert chosen is not None
    before, after = rows(full_run, "base-eval", 1.0), rows(full_run, "rlvr-eval", 1.0)
    kinds = [(before[id_], after[id_]) for id_ in before]
    expected = [kinds.count(pair) for pair in ((0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1.0, 1.0))]
    assert [chosen.counts[group] for group in GROUPS.values()] == expected
    assert len(chosen.problems) == 8
    assert {problem.group for problem in chosen.problems} == {g for g, n in chosen.counts.items() if n}


def test_problems_of_one_model_are_right_or_wrong(full_run: Path) -> None:
    chosen = instances_of(full_run).choose(["base-eval"], "problems", "accuracy", 1.0, 8)
    assert chosen is not None
    scores = list(rows(full_run, "base-eval", 1.0).values())
    assert chosen.alone
    assert chosen.counts == {"wrong": scores.count(0.0), "right": scores.count(1.0)}
    assert len(chosen.problems) == 8


def test_the_choice_does_not_depend_on_the_order_of_the_file(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    stages = ["base-eval", "rlvr-eval"]

    def ids() -> list[str]:
        chosen = instances_of(folder).choose(stages, "problems", "accuracy", 0.0, 8)
        assert chosen is not None
        return [problem.id for problem in chosen.problems]

    before = ids()
    for file in folder.glob("stages/*/samples/instances.jsonl"):
        lines = file.read_text(encoding="utf-8").splitlines()
        random.Random(1).shuffle(lines)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert ids() == before
