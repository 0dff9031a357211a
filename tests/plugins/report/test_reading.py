"""From files to facts: whole, failed, stopped, killed, resumed and damaged runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aftertrain.core.errors import RunError
from aftertrain.core.events import Metrics, Rewind, RunStarted, ScoreRow, Scores, StageReused, StageStarted
from aftertrain.core.events.diary import EventLog
from aftertrain.core.records import Artifact
from aftertrain.plugins.report.facts import Parent
from aftertrain.plugins.report.reading import read_run


def test_a_whole_run(full_run: Path) -> None:
    run = read_run(full_run)
    assert (run.name, run.status, run.error) == ("quickstart", "finished", "")
    assert [stage.name for stage in run.stages] == [
        "base-eval", "sft", "sft-eval", "dpo", "dpo-eval", "rm", "rlvr", "rlvr-eval",
    ]  # fmt: skip
    assert {stage.status for stage in run.stages} == {"done"}
    rlvr = run.stage("rlvr")
    assert rlvr is not None
    assert rlvr.parents == (Parent("model", "dpo"), Parent("critic", "rm"))
    assert (rlvr.source, rlvr.step, rlvr.total) == ("dpo", 40, 40)
    assert rlvr.verdicts["gsm8k"] == {"scored": 10_000, "unparsable": 200, "timeout": 40, "error": 0}
    assert len(rlvr.metrics["reward"]) == 40
    sft = run.stage("sft")
    assert sft is not None
    assert (dict(sft.dropped), sft.dropped_examples) == ({"too_long": 3}, ("row-17", "row-40", "row-77"))


@pytest.mark.parametrize(
    ("end", "facts", "status"),
    [
        ("run_failed", {"error": "disk full", "at": "dpo"}, "failed"),
        ("run_failed", {"error": "stopped", "at": "dpo", "interrupted": True}, "interrupted"),
        (None, {}, "unfinished"),
    ],
)
def test_a_partial_run(make_run: Callable[..., Path], end: str | None, facts: dict[str, object], status: str) -> None:
    run = read_run(make_run(until="dpo", end=end, **facts))
    assert run.status == status
    assert [stage.status for stage in run.stages] == ["done", "done", "done", status, *["not started"] * 4]
    assert run.stages[3].step == 9


def test_a_resumed_run_drops_what_was_done_again(tmp_path: Path) -> None:
    for steps, first in ((4, True), (3, False)):
        log = EventLog(tmp_path / "events.jsonl")
        log.emit(RunStarted("r"))
        log.emit(StageStarted("train", "a" * 64, inputs={"model": "base"}), "sft")
        if not first:
            log.emit(Rewind(), "sft", 2)
        for step in range(1 if first else 3, steps + 1):
            log.emit(Metrics({"loss": float(step if first else 10 * step)}), "sft", step)
        log.close()
    run = read_run(tmp_path)
    assert run.stages[0].metrics["loss"] == {1: 1.0, 2: 2.0, 3: 30.0}
    assert [attempt.rewinds for attempt in run.attempts] == [(), (("sft", 2),)]
    assert run.attempts[0].how.startswith("no end recorded")


def test_values_that_are_not_finite_are_counted_not_drawn(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.emit(Metrics({"loss": 1.0}), "sft", 1)
    log.emit(Metrics({"loss": float("nan")}), "sft", 2)
    log.close()
    series = read_run(tmp_path).stages[0].series("loss")
    assert series is not None
    assert (series.values, series.not_finite) == ((1.0,), 1)


def test_scores_of_a_reused_stage_come_from_its_folder(tmp_path: Path) -> None:
    scores = Scores((ScoreRow("t", "acc", 0.0, 0.5, 0.4, 0.6, 9),), (), ())
    log = EventLog(tmp_path / "events.jsonl")
    log.emit(StageReused("b" * 64, Artifact("scores", "eval", "eval", "b" * 64, scores.facts())), "eval")
    log.close()
    stage = read_run(tmp_path).stages[0]
    assert (stage.status, stage.scores[0].mean, stage.scores[0].n) == ("reused", 0.5, 9)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        read_run(tmp_path / "nothing")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"it has no events\.jsonl"):
        read_run(tmp_path)


def test_a_run_without_events(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").touch()
    with pytest.raises(RunError, match="holds no events"):
        read_run(tmp_path)


def test_a_damaged_manifest_is_named(make_run: Callable[..., Path]) -> None:
    folder = make_run(until="sft")
    (folder / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"manifest\.json:1:2: not JSON"):
        read_run(folder)


def test_a_run_without_manifest_still_has_its_scores(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    (folder / "manifest.json").unlink()
    run = read_run(folder)
    assert run.recipe["name"] == "quickstart"
    assert len(run.scores) == 16
