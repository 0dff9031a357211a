"""Damaged and forged records of a run: told by file and place, with the cure; nothing is believed that is not so."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.api.history import history
from aftertrain.core.errors import RunError
from aftertrain.core.events.lines import read_events
from aftertrain.core.run.job import Job
from aftertrain.core.run.runner import run_job
from aftertrain.core.stage import StageContext

MakeJob = Callable[..., Job]


class _Crash(Exception):
    pass


def _crash_at(at: int) -> Any:
    def trouble(context: StageContext, step: int) -> None:
        if step == at:
            raise _Crash

    return staticmethod(trouble)


def weights(result: Any, stage: str) -> str:
    return (Path(result.artifacts[stage].path) / "weights.txt").read_text()


@pytest.mark.parametrize(
    ("forge", "told"),
    [
        (lambda stage: (stage / "done.json").write_text("{"), "done.json:1:2: not JSON"),
        (lambda stage: (stage / "done.json").write_text("[]"), "done.json: "),
        (lambda stage: (stage / "done.json").write_text("{}"), "done.json: hash: field required"),
        (lambda stage: _edit(stage, hash="0" * 64), "is of another stage (its hash is 000000000000)"),
        (lambda stage: _edit(stage, files={}), "REFUSED"),
        (lambda stage: _edit(stage, files=[]), "done.json: files: "),
        (lambda stage: _edit(stage, artifact=None), "done.json: artifact: "),
        (lambda stage: _forge(stage, path="../.."), "is no folder inside the stage's own"),
        (lambda stage: _forge(stage, path="/etc"), "is no folder inside the stage's own"),
        (lambda stage: _forge(stage, type="reward_model"), "names a reward_model, the stage makes a model"),
        (lambda stage: _forge(stage, type="pickle"), "done.json: artifact.type: "),
        (lambda stage: (stage / "model" / "weights.txt").unlink(), "weights.txt: missing"),
        (lambda stage: (stage / "model" / "weights.txt").write_text("1"), "weights.txt: checksum differs"),
        (lambda stage: _link(stage / "model" / "weights.txt"), "weights.txt: is a link now"),
        (lambda stage: _link(stage / "model"), "is no folder inside the stage's own"),
        (lambda stage: _pipe(stage / "done.json"), "done.json: is no regular file"),
        (lambda stage: _pipe(stage / "model" / "weights.txt"), "weights.txt: missing"),
        (lambda stage: (stage / "model" / "pytorch_model.bin").write_text("x"), "REFUSED"),
        (lambda stage: (stage / "model" / "README.md").write_text("mine"), ""),
    ],
)
def test_a_done_stage_is_reused_only_as_it_was_left(
    make_job: MakeJob, walk: Any, forge: Callable[[Path], object], told: str
) -> None:
    job = make_job({"a": {}})
    good = weights(run_job(job), "a")
    (stage,) = job.folder.glob("stages/a-*")
    forge(stage)
    walk.ran.clear()
    if told == "REFUSED":
        with pytest.raises(RunError, match=r"did not write this file.* take it away, or .*--restart"):
            run_job(job)
        return
    again = run_job(job)
    assert weights(again, "a") == good
    assert bool(walk.ran) == bool(told)
    warnings = [e.data["message"] for e in read_events(again.folder / "events.jsonl") if e.name == "warning"]
    assert len(warnings) == bool(told)
    assert all(told in message and message.endswith("the stage is done again") for message in warnings)


def _edit(stage: Path, **changed: object) -> None:
    (stage / "done.json").write_text(json.dumps({**json.loads((stage / "done.json").read_text()), **changed}))


def _forge(stage: Path, **changed: object) -> None:
    _edit(stage, artifact={**json.loads((stage / "done.json").read_text())["artifact"], **changed})


def _link(path: Path) -> None:
    path.rename(elsewhere := path.parents[3] / f"elsewhere-{path.name}")
    path.symlink_to(elsewhere)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("content", ["{", "[]", '{"threads": 1}', "null", "1" * 5000, "[" * 10_000])
def test_a_damaged_record_of_the_machine_is_told_with_two_cures(make_job: MakeJob, walk: Any, content: str) -> None:
    walk.trouble = _crash_at(5)
    job = make_job({"a": {}})
    with pytest.raises(_Crash):
        run_job(job)
    (file,) = job.folder.glob("stages/a-*/machine.json")
    file.write_text(content)
    walk.trouble = staticmethod(lambda context, step: None)
    with pytest.raises(RunError, match=r"machine\.json.*take the file away .*--restart"):
        run_job(job)
    file.unlink()
    walk.ran.clear()
    run_job(job)
    assert walk.ran == [("a", 5), ("a", 6)]


@pytest.mark.parametrize("content", ["{", "[]", '{"why": 1}', '{"code": []}', "null"])
def test_a_damaged_lineage_is_told_and_written_anew(make_job: MakeJob, walk: Any, content: str) -> None:
    walk.trouble = _crash_at(5)
    job = make_job({"a": {}})
    with pytest.raises(_Crash):
        run_job(job)
    (file,) = job.folder.glob("stages/a-*/lineage.json")
    file.write_text(content)
    walk.trouble = staticmethod(lambda context, step: None)
    result = run_job(job)
    (stage,) = history(result.folder)
    assert "lineage.json" in stage.why[0]
    assert stage.why[0].endswith("it is written anew")
    file.write_text(content)
    (stage,) = history(run_job(make_job({"a": {"width": 2.0}})).folder)
    assert stage.why[0].startswith("the version before cannot be compared: ")


def test_a_line_of_the_events_that_is_none_is_a_warning_of_the_next_start(make_job: MakeJob) -> None:
    job = make_job({"a": {}})
    run_job(job)
    first = 1 + len((job.folder / "events.jsonl").read_text().splitlines())
    with (job.folder / "events.jsonl").open("a") as file:
        file.write("garbage\n" * 5)
    result = run_job(job)
    assert result.reused == ("a",)
    said = [e.data["message"] for e in read_events(job.folder / "events.jsonl") if e.name == "warning"]
    assert [message.partition("events.jsonl")[2].partition(";")[0] for message in said[:3]] == [
        f":{line}:1: not JSON: Expecting value" for line in range(first, first + 3)
    ]
    assert said[3].endswith("2 more faults are not told one by one")
