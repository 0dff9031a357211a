"""What a plan says, before and after a run, and when something is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aftertrain.api.plan import plan_job
from aftertrain.core.errors import Unreachable
from aftertrain.core.run.job import Job
from aftertrain.core.run.runner import run_job
from aftertrain.core.run.size import count_parameters, gibibytes
from aftertrain.core.stage import StageContext

MakeJob = Callable[..., Job]


@pytest.fixture
def make(make_job: MakeJob, tiny_model: Path) -> MakeJob:
    """Jobs over a real (tiny) base model."""
    return lambda stages, **more: make_job(stages, model=str(tiny_model), **more)


def _states(job: Job) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {stage.name: (stage.state, stage.why) for stage in plan_job(job).stages}


def test_parameters_are_counted_without_weights(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    (tmp_path / "config.json").write_text((tiny_model / "config.json").read_text())
    with safe_open(tiny_model / "model.safetensors", "pt") as file:
        stored = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 (no iterator)
    assert count_parameters(tmp_path) == stored


def test_a_plan_writes_nothing_and_shows_model_and_stages(make: MakeJob) -> None:
    job = make({"b": {"from": "a"}, "a": {"steps": 9}})
    report = plan_job(job)
    assert not job.folder.exists()
    labels = {item.label: item for item in report.model}
    assert labels["parameters"].value == "25,856"
    assert labels["training memory"].value.startswith("0.4 MiB")
    assert {"BOS", "pad token", "prompt is a token prefix", "reply ends with"} < labels.keys()
    assert [(stage.name, stage.inputs, stage.output) for stage in report.stages] == [
        ("a", {"model": "base"}, "model"),
        ("b", {"model": "a"}, "model"),
    ]
    assert [item.value for item in report.stages[0].items] == ["9"]
    assert report.errors == ()


def test_what_would_be_reused_resumed_and_redone(make: MakeJob, walk: Any) -> None:
    stages: dict[str, dict[str, Any]] = {"a": {}, "b": {"from": "a"}, "c": {"from": "b"}}
    assert set(_states(make(stages)).values()) == {("run", ("first run",))}

    def trouble(context: StageContext, step: int) -> None:
        if (context.name, step) == ("b", 5):
            raise ZeroDivisionError

    walk.trouble = staticmethod(trouble)
    with pytest.raises(ZeroDivisionError):
        run_job(make(stages))
    assert _states(make(stages)) == {
        "a": ("reuse", ("done already",)),
        "b": ("resume", ("goes on after step 4",)),
        "c": ("run", ("first run",)),
    }
    changed: dict[str, dict[str, Any]] = {**stages, "a": {"width": 2.0}}
    assert _states(make(changed)) == {
        "a": ("run", ("width: 1.0 -> 2.0",)),
        "b": ("run", ("input model (a): its input was redone",)),
        "c": ("run", ("first run",)),
    }
    assert {state for state, _ in _states(make(stages, job={"restart": True})).values()} == {"run"}


def test_the_plan_s_hashes_are_the_run_s(make: MakeJob) -> None:
    job = make({"a": {}, "b": {"from": "a"}})
    planned = {stage.name: stage.hash for stage in plan_job(job).stages}
    result = run_job(job)
    assert planned == {name: result.artifacts[name].digest for name in ("a", "b")}


def test_missing_data_and_a_missing_model_are_errors_of_the_plan(make: MakeJob) -> None:
    job = make({"a": {"data": "/nowhere/rows"}, "b": {"from": "a"}})
    report = plan_job(job)
    assert report.errors == ("stages.a: data: /nowhere/rows: cannot be read: No such file or directory",)
    assert [stage.state for stage in report.stages] == ["unknown", "unknown"]
    report = plan_job(replace(job, recipe=job.recipe.model_copy(update={"model": "./gone"})))
    assert report.errors[0].startswith("model: model: model './gone': there is no folder ")


def test_data_that_only_a_hub_has_is_a_warning(make: MakeJob, walk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that plans need not be the one that runs."""

    def unreachable(stage: object, *context: object) -> None:
        raise Unreachable("data set 'x/y' is not to be had from the hub")

    monkeypatch.setattr(walk, "fingerprints", unreachable)
    monkeypatch.setattr(walk, "plan", unreachable)
    report = plan_job(make({"a": {}}))
    (item,) = report.stages[0].items
    assert (item.label, item.status) == ("data", "warning")
    assert report.errors == ()


def test_a_model_without_weights_can_be_planned_but_not_hashed(make: MakeJob, tiny_model: Path, tmp_path: Path) -> None:
    described = tmp_path / "described"
    described.mkdir()
    for file in tiny_model.glob("*.json"):
        (described / file.name).write_bytes(file.read_bytes())
    for file in tiny_model.glob("*.jinja"):
        (described / file.name).write_bytes(file.read_bytes())
    job = make({"a": {}})
    report = plan_job(replace(job, recipe=job.recipe.model_copy(update={"model": str(described)})))
    assert report.errors == ()
    assert [item.status for item in report.model if item.label == "weights"] == ["ok", "warning"]
    assert report.stages[0].state == "unknown"


def test_sizes_are_readable() -> None:
    assert gibibytes(16 * 8e9) == "119.21 GiB"
    assert gibibytes(1_048_576) == "1.0 MiB"
