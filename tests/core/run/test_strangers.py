"""Stages and observers of strangers: a run ends with an error that names them, or goes on without them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from aftertrain.core.events import Entry
from aftertrain.core.events.lines import read_events
from aftertrain.core.ground.foreign import EndedProgram
from aftertrain.core.plugin import hookimpl
from aftertrain.core.run.job import Job
from aftertrain.core.run.runner import run_job
from aftertrain.core.stage import StageContext

MakeJob = Callable[..., Job]


class Mute(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


class Own(BaseException):
    pass


@pytest.mark.parametrize("error", [SystemExit(0), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Own("own")])
@pytest.mark.parametrize("door", ["run", "fingerprints", "check_data"])
def test_a_stage_that_would_end_the_program_is_a_failed_run(
    make_job: MakeJob, walk: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException, door: str
) -> None:
    def fails(*given: Any) -> Any:
        raise error

    job = make_job({"a": {}})
    monkeypatch.setattr(walk, door, fails, raising=False)
    with pytest.raises(EndedProgram, match=rf"stage 'a' raised {type(error).__name__}: .*test_strangers.py:\d+"):
        run_job(job)
    last = read_events(job.folder / "events.jsonl")[-1]
    assert last.name == "run_failed"
    assert type(error).__name__ in last.data["error"]


def test_an_error_without_words_is_written_down(make_job: MakeJob, walk: Any) -> None:
    def trouble(context: StageContext, step: int) -> None:
        raise Mute

    walk.trouble = staticmethod(trouble)
    job = make_job({"a": {}})
    with pytest.raises(Mute):
        run_job(job)
    last = read_events(job.folder / "events.jsonl")[-1]
    assert (last.name, last.data["type"]) == ("run_failed", "Mute")
    assert last.data["error"] == "<its text cannot be had: SystemExit>"


def test_what_a_stage_bends_is_put_back_for_the_next(
    make_job: MakeJob, walk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def trouble(context: StageContext, step: int) -> None:
        if context.name == "a":
            os.chdir("/")
            sys.stdout = None  # type: ignore[assignment]

    here, out = os.getcwd(), sys.stdout
    walk.trouble = staticmethod(trouble)
    run_job(make_job({"a": {"steps": 1}, "b": {"from": "a", "steps": 1}}))
    assert (os.getcwd(), sys.stdout) == (here, out)
    assert "stage 'a' replaced sys.stdout, changed the working folder" in caplog.text


class Watcher:
    """An observer of a stranger that does something odd at each event."""

    def __init__(self, odd: Callable[[], object]) -> None:
        self.odd, self.seen = odd, 0

    @hookimpl
    def aftertrain_event(self, entry: Entry) -> None:
        self.seen += 1
        self.odd()

    def __repr__(self) -> str:
        raise SystemExit(0)


def _raise(error: BaseException) -> Callable[[], object]:
    def odd() -> object:
        raise error

    return odd


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), Own(), Mute(), ValueError("v")])
def test_an_observer_that_raises_anything_is_dropped(
    make_job: MakeJob, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    watcher = Watcher(_raise(error))
    job = make_job({"a": {}}, job={"observers": [watcher]})
    result = run_job(job)
    assert watcher.seen == 1
    assert read_events(result.folder / "events.jsonl")[-1].name == "run_done"
    assert "test_strangers.Watcher: " in caplog.text
    assert "it failed and is dropped, the run goes on" in caplog.text


def test_an_observer_cannot_keep_the_run_s_streams(make_job: MakeJob, caplog: pytest.LogCaptureFixture) -> None:
    err = sys.stderr
    watcher = Watcher(lambda: setattr(sys, "stderr", None))
    with caplog.at_level(logging.WARNING):
        run_job(make_job({"a": {}}, job={"observers": [watcher]}))
    assert sys.stderr is err
    assert watcher.seen > 5
    assert "replaced sys.stderr" in caplog.text


class Prickly:
    """Looking at it raises."""

    def __dir__(self) -> list[str]:
        raise SystemExit(0)


def test_an_observer_that_cannot_be_looked_at_is_dropped(make_job: MakeJob, caplog: pytest.LogCaptureFixture) -> None:
    run_job(make_job({"a": {}}, job={"observers": [Prickly()]}))
    assert "test_strangers.Prickly" in caplog.text
