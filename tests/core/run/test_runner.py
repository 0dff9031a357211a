"""A run end to end with toy stages: what is run, reused, resumed and left behind."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.api.history import history
from aftertrain.core.errors import DataError, Interrupted, NumericsError, RecipeError, RunError
from aftertrain.core.events import Entry
from aftertrain.core.events.lines import read_events
from aftertrain.core.records import PlanItem
from aftertrain.core.run.job import Job
from aftertrain.core.run.runner import run_job
from aftertrain.core.stage import PlanContext, StageContext

MakeJob = Callable[..., Job]


def metrics(folder: Path, stage: str) -> list[tuple[int | None, Any]]:
    events = read_events(folder / "events.jsonl")
    return [(e.step, e.data["loss"]) for e in events if e.name == "metrics" and e.stage == stage]


def names(folder: Path) -> list[str]:
    return [event.name for event in read_events(folder / "events.jsonl")]


def _raise(error: Exception) -> None:
    raise error


def weights(result: Any, stage: str) -> str:
    return (Path(result.artifacts[stage].path) / "weights.txt").read_text()


def test_a_run_leaves_artifacts_manifest_and_events(make_job: MakeJob) -> None:
    result = run_job(make_job({"b": {"from": "a"}, "a": {}}))
    assert list(result.artifacts) == ["base", "a", "b"]
    assert result.artifacts["a"].stage == "a"
    assert len(result.artifacts["a"].digest) == 64
    stage = Path(result.artifacts["a"].path).parent
    assert sorted(p.name for p in stage.iterdir()) == ["done.json", "lineage.json", "machine.json", "model"]
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert manifest["order"] == ["a", "b"]
    assert manifest["threads"] == 1
    assert manifest["recipe"]["stages"]["b"]["from"] == "a"
    assert "torch" in manifest["packages"]
    assert [step for step, _ in metrics(result.folder, "a")] == [1, 2, 3, 4, 5, 6]
    assert names(result.folder)[0] == "run_started"
    assert names(result.folder)[-1] == "run_done"


def test_no_environment_variable_is_written(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hunter2hunter2")
    result = run_job(make_job({"a": {}}))
    for path in result.folder.rglob("*"):
        if path.is_file():
            assert b"hunter2hunter2" not in path.read_bytes()


def test_a_second_run_reuses_everything(make_job: MakeJob, walk: Any) -> None:
    first = run_job(make_job({"a": {}, "b": {"from": "a"}}))
    walk.ran.clear()
    second = run_job(make_job({"a": {}, "b": {"from": "a"}}))
    assert walk.ran == []
    assert second.reused == ("a", "b")
    assert second.artifacts == first.artifacts
    assert names(second.folder).count("stage_reused") == 2


def test_a_renamed_stage_is_reused_with_all_that_starts_from_it(make_job: MakeJob, walk: Any) -> None:
    before = run_job(make_job({"a": {}, "b": {"from": "a"}}))
    walk.ran.clear()
    after = run_job(make_job({"first": {}, "b": {"from": "first"}}))
    assert walk.ran == []
    assert after.reused == ("first", "b")
    assert after.artifacts["first"].path == before.artifacts["a"].path
    assert after.artifacts["first"].stage == "first"
    assert [step for step, _ in metrics(after.folder, "first")] == [1, 2, 3, 4, 5, 6]
    assert history(after.folder)[0].state == "reused in attempt 2"


def test_a_half_done_stage_goes_on_under_another_name(make_job: MakeJob, walk: Any) -> None:
    walk.trouble = staticmethod(lambda context, step: _raise(NumericsError("no")) if step == 5 else None)
    with pytest.raises(NumericsError):
        run_job(make_job({"a": {}}))
    walk.trouble = staticmethod(lambda context, step: None)
    walk.ran.clear()
    renamed = run_job(make_job({"b": {}}))
    assert walk.ran == [("b", 5), ("b", 6)]
    assert [step for step, _ in metrics(renamed.folder, "b")] == [1, 2, 3, 4, 5, 6]
    assert weights(renamed, "b") == weights(run_job(make_job({"c": {}}, folder=renamed.folder / "whole")), "c")


def test_two_stages_of_one_meaning_are_one_stage(make_job: MakeJob, walk: Any) -> None:
    result = run_job(make_job({"a": {}, "twin": {}}, job={"restart": True}))
    assert {name for name, _ in walk.ran} == {"a"}
    assert result.artifacts["a"].path == result.artifacts["twin"].path


def test_an_unhashed_setting_changes_nothing(make_job: MakeJob) -> None:
    run_job(make_job({"a": {"every": 2}}))
    assert run_job(make_job({"a": {"every": 3}})).reused == ("a",)


def test_a_changed_stage_and_its_descendants_are_redone(make_job: MakeJob, walk: Any) -> None:
    before = run_job(make_job({"a": {}, "b": {"from": "a"}, "c": {}}))
    after = run_job(make_job({"a": {"width": 2.0}, "b": {"from": "a"}, "c": {}}))
    assert after.reused == ("c",)
    assert after.artifacts["b"].digest != before.artifacts["b"].digest
    started = {e.stage: e.data["why"] for e in read_events(after.folder / "events.jsonl") if e.name == "stage_started"}
    assert started["a"] == ["width: 1.0 -> 2.0"]
    assert started["b"] == ["input model (a): its input was redone"]
    assert [step for step, _ in metrics(after.folder, "a")] == [1, 2, 3, 4, 5, 6], "only the new version's events"


def test_going_back_to_old_settings_reuses_the_old_version_and_its_events(make_job: MakeJob) -> None:
    first = run_job(make_job({"a": {}}))
    events = metrics(first.folder, "a")
    run_job(make_job({"a": {"width": 2.0}}))
    assert metrics(first.folder, "a") != events
    assert run_job(make_job({"a": {}})).reused == ("a",)
    assert metrics(first.folder, "a") == events


def test_restart_runs_everything_again(make_job: MakeJob, walk: Any) -> None:
    run_job(make_job({"a": {}}))
    walk.ran.clear()
    result = run_job(make_job({"a": {}}, job={"restart": True}))
    assert len(walk.ran) == 6
    assert [step for step, _ in metrics(result.folder, "a")] == [1, 2, 3, 4, 5, 6]


class _Crash(Exception):
    pass


def _crash_at(step: int) -> Any:
    def trouble(context: StageContext, now: int) -> None:
        if now == step:
            raise _Crash("a defect")

    return staticmethod(trouble)


def test_a_failed_stage_resumes_from_its_checkpoint_to_the_same_result(
    make_job: MakeJob, walk: Any, tmp_path: Path
) -> None:
    whole = run_job(make_job({"a": {}}, folder=tmp_path / "whole"))
    walk.trouble = _crash_at(5)
    job = make_job({"a": {}})
    with pytest.raises(_Crash):
        run_job(job)
    failed = read_events(job.folder / "events.jsonl")[-1]
    assert failed.name == "run_failed"
    assert failed.data["at"] == "a"
    assert "_Crash" in failed.data["traceback"]
    walk.trouble = staticmethod(lambda context, step: None)
    walk.ran.clear()
    again = run_job(job)
    assert walk.ran == [("a", 5), ("a", 6)]
    assert weights(again, "a") == weights(whole, "a")
    assert metrics(again.folder, "a") == metrics(whole.folder, "a")


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(make_job: MakeJob, walk: Any) -> None:
    walk.trouble = _crash_at(5)
    job = make_job({"a": {}})
    with pytest.raises(_Crash):
        run_job(job)
    (state,) = job.folder.glob("stages/a-*/checkpoints/step-00000004/state.json")
    raw = bytearray(state.read_bytes())
    raw[3] ^= 1
    state.write_bytes(bytes(raw))
    walk.trouble = staticmethod(lambda context, step: None)
    walk.ran.clear()
    run_job(job)
    assert walk.ran[0] == ("a", 3)
    warnings = [e.data["message"] for e in read_events(job.folder / "events.jsonl") if e.name == "warning"]
    assert warnings == [f"{state}: checksum differs; this checkpoint is refused, the one before it is used"]


def test_a_damaged_artifact_is_named_and_made_again(make_job: MakeJob, walk: Any) -> None:
    first = run_job(make_job({"a": {}}))
    good = weights(first, "a")
    file = Path(first.artifacts["a"].path) / "weights.txt"
    file.write_text("0.0")
    again = run_job(make_job({"a": {}}))
    assert again.reused == ()
    assert weights(again, "a") == good
    warnings = [e.data["message"] for e in read_events(again.folder / "events.jsonl") if e.name == "warning"]
    assert warnings == [f"{file}: checksum differs; the stage is done again"]


def test_changed_settings_abandon_a_half_done_stage_and_say_so(make_job: MakeJob, walk: Any) -> None:
    walk.trouble = _crash_at(5)
    with pytest.raises(_Crash):
        run_job(make_job({"a": {}}))
    walk.trouble = staticmethod(lambda context, step: None)
    result = run_job(make_job({"a": {"width": 3.0}}))
    (warning,) = [e.data["message"] for e in read_events(result.folder / "events.jsonl") if e.name == "warning"]
    assert warning.startswith("a-")
    assert warning.endswith("is half done and left as it is, because it differs: width: 1.0 -> 3.0")


def test_the_first_signal_saves_and_stops_the_run_goes_on_to_the_same_result(
    make_job: MakeJob, walk: Any, tmp_path: Path
) -> None:
    whole = run_job(make_job({"a": {}}, folder=tmp_path / "whole"))

    def trouble(context: StageContext, step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    walk.trouble = staticmethod(trouble)
    told: list[str] = []
    job = make_job({"a": {}}, job={"on_stop": lambda: told.append("heard")})
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="stopped after step 3"):
        run_job(job)
    assert signal.getsignal(signal.SIGINT) is before
    assert told == ["heard"]
    last = read_events(job.folder / "events.jsonl")[-1]
    assert (last.name, last.data["interrupted"]) == ("run_failed", True)
    walk.ran.clear()
    again = run_job(job)
    assert walk.ran[0] == ("a", 4)
    assert weights(again, "a") == weights(whole, "a")
    assert metrics(again.folder, "a") == metrics(whole.folder, "a")


def test_a_second_signal_stops_at_once(make_job: MakeJob, walk: Any) -> None:
    def trouble(context: StageContext, step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)

    walk.trouble = staticmethod(trouble)
    with pytest.raises(Interrupted, match="stopped at once"):
        run_job(make_job({"a": {}}))


def test_resuming_under_other_threads_is_refused_unless_asked_for(make_job: MakeJob, walk: Any) -> None:
    walk.trouble = _crash_at(5)
    with pytest.raises(_Crash):
        run_job(make_job({"a": {}}))
    walk.trouble = staticmethod(lambda context, step: None)
    with pytest.raises(RunError, match=r"half done \(step 4\) .* threads 1 then, 2 now.*--allow-other-machine"):
        run_job(make_job({"a": {}}, threads=2))
    result = run_job(make_job({"a": {}}, threads=2, job={"other_machine": True}))
    warnings = [e.data["message"] for e in read_events(result.folder / "events.jsonl") if e.name == "warning"]
    assert any("threads 1 then, 2 now" in warning for warning in warnings)


def test_errors_of_data_and_numbers_keep_their_message_and_are_written_down(make_job: MakeJob, walk: Any) -> None:
    def trouble(context: StageContext, step: int) -> None:
        if step == 3:
            raise NumericsError("stage 'a', step 3: the loss is nan on rows x, y")

    walk.trouble = staticmethod(trouble)
    job = make_job({"a": {}})
    with pytest.raises(NumericsError, match="step 3: the loss is nan"):
        run_job(job)
    last = read_events(job.folder / "events.jsonl")[-1]
    assert last.data == {"error": "stage 'a', step 3: the loss is nan on rows x, y", "type": "NumericsError", "at": "a"}
    assert list(job.folder.glob("stages/a-*/checkpoints/step-00000002/state.json")), "the last good state is there"


def test_missing_data_fails_before_any_step(make_job: MakeJob, walk: Any) -> None:
    job = make_job({"a": {"data": "/nowhere/rows.jsonl"}})
    with pytest.raises(DataError, match=r"/nowhere/rows.jsonl: cannot be read"):
        run_job(job)
    assert walk.ran == []
    assert names(job.folder)[-1] == "run_failed"


def test_missing_data_of_a_later_stage_is_told_before_the_first_runs(make_job: MakeJob, walk: Any) -> None:
    job = make_job({"a": {}, "b": {"from": "a", "data": "/nowhere/rows.jsonl"}})
    with pytest.raises(DataError, match=r"^/nowhere/rows.jsonl: cannot be read"):
        run_job(job)
    assert walk.ran == []
    assert read_events(job.folder / "events.jsonl")[-1].data["at"] == "b"


def test_missing_data_of_several_stages_is_told_at_once(make_job: MakeJob) -> None:
    job = make_job({"a": {"data": "/nowhere/x"}, "b": {"from": "a", "data": "/nowhere/y"}})
    with pytest.raises(DataError) as caught:
        run_job(job)
    assert str(caught.value).splitlines() == [
        "stage 'a': /nowhere/x: cannot be read: No such file or directory",
        "stage 'b': /nowhere/y: cannot be read: No such file or directory",
    ]


def test_a_full_disk_is_told_with_its_file(make_job: MakeJob, walk: Any) -> None:
    def trouble(context: StageContext, step: int) -> None:
        if step == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(context.folder / "samples" / "x.jsonl"))

    walk.trouble = staticmethod(trouble)
    with pytest.raises(RunError, match=r"stage 'a': .*/samples/x.jsonl: No space left on device; what was done"):
        run_job(make_job({"a": {}}))


def test_an_unknown_parent_writes_nothing(make_job: MakeJob) -> None:
    job = make_job({"sft": {}, "dpo": {"from": "stf"}})
    with pytest.raises(RecipeError, match=r"no stage named 'stf'\. Did you mean 'sft'"):
        run_job(job)
    assert not job.folder.exists()


def test_a_failing_observer_is_dropped_and_the_run_goes_on(make_job: MakeJob, caplog: pytest.LogCaptureFixture) -> None:
    from aftertrain.core.plugin import hookimpl

    class Bad:
        seen = 0

        @hookimpl
        def aftertrain_event(self, entry: Entry) -> None:
            self.seen += 1
            raise ValueError("a tracker without a network")

    class Good:
        def __init__(self) -> None:
            self.seen: list[str] = []
            self.closed = False

        @hookimpl
        def aftertrain_event(self, entry: Entry) -> None:
            self.seen.append(entry.name)

        @hookimpl
        def aftertrain_close(self) -> None:
            self.closed = True

    bad, good = Bad(), Good()
    result = run_job(make_job({"a": {}}, job={"observers": [bad, good]}))
    assert bad.seen == 1
    assert good.closed
    assert good.seen == names(result.folder)
    assert "a tracker without a network" in caplog.text


def test_a_stage_counts_as_done_only_when_all_its_events_are_on_the_disk(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after done.json must not lose steps that nobody will run again (5 and 6 come after a checkpoint)."""
    from aftertrain.core.events.diary import EventLog

    synced: list[int] = []
    unsynced: dict[str, int] = {}
    real_sync, real_rename = EventLog.sync, Path.rename

    def sync(log: EventLog) -> None:
        real_sync(log)
        synced.append(log.path.stat().st_size)

    def rename(self: Path, target: Path) -> Path:
        if target.name == "done.json":
            unsynced[target.name] = (target.parents[2] / "events.jsonl").stat().st_size - synced[-1]
        return real_rename(self, target)

    monkeypatch.setattr(EventLog, "sync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    run_job(make_job({"a": {"every": 4}}))
    assert unsynced == {"done.json": 0}


def test_bad_rows_of_the_last_stage_are_told_before_the_first_runs(
    make_job: MakeJob, walk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not again for a stage that is done; all stages' rows at once."""
    asked: list[str] = []
    bad = {"b"}

    def check_data(self: Any, context: PlanContext, stopping: Callable[[], bool]) -> None:
        asked.append(context.name)
        assert not stopping()
        if context.name in bad:
            raise DataError(f"rows.jsonl:3: unusable in {context.name}")

    monkeypatch.setattr(walk, "check_data", check_data, raising=False)
    job = make_job({"b": {"from": "a"}, "a": {}})
    with pytest.raises(DataError, match=r"rows\.jsonl:3: unusable in b"):
        run_job(job)
    assert asked == ["a", "b"]
    assert names(job.folder) == ["run_started", "data_check", "data_check", "run_failed"]
    bad.clear()
    run_job(job)
    run_job(job)
    assert asked == ["a", "b"] * 2


def test_a_run_refuses_what_its_plan_calls_an_error(
    make_job: MakeJob, walk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every stage before the first one starts; figures are not asked for, and warnings stop nothing."""

    def plan(self: Any, context: PlanContext) -> list[PlanItem]:
        assert not context.figures
        status = "error" if context.name == "b" else "warning"
        return [PlanItem("gpu", f"none for {context.name}", status)]

    monkeypatch.setattr(walk, "plan", plan)
    with pytest.raises(RunError, match="stage 'b' cannot start: gpu: none for b"):
        run_job(make_job({"a": {}, "b": {"from": "a"}}))
    assert walk.ran == []
