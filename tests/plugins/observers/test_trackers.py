"""TensorBoard files are read back; wandb is spoken to through a stand-in, and its absence is told."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aftertrain.core.errors import MissingExtra
from aftertrain.core.events import Entry, Metrics, RunStarted, Sample, StageDone, StageStarted, VerdictCounts
from aftertrain.plugins.observers.settings import TensorBoardSettings, WandbSettings
from aftertrain.plugins.observers.tensorboard import TensorBoard
from aftertrain.plugins.observers.wandb import WeightsAndBiases


def _watch(observer: Any, folder: Path, events: Iterable[Entry]) -> None:
    observer.open(folder)
    for event in events:
        observer.on_event(event)
    observer.close()


def _metrics(steps: Iterable[int], loss: float) -> list[Entry]:
    return [Entry(Metrics({"loss": loss}, {"seconds": 2.0}), "sft", t) for t in steps]


def _started(resumed: int) -> Entry:
    return Entry(StageStarted("train", resumed_from=resumed), "sft")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_each_step_once_after_a_resume(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = TensorBoardSettings(shown=1)
    sample = Sample("2 + 2?", "4", 10.0)
    first = [_started(0), *_metrics(range(1, 6), 1.0), *[Entry(sample, "sft", 5)] * 3]
    _watch(TensorBoard(settings, None), tmp_path, first)  # type: ignore[arg-type]
    again = [_started(3), *_metrics(range(4, 8), 2.0), Entry(VerdictCounts({"gsm8k": {"scored": 5}}), "sft", 7)]
    again += [Entry(StageDone(), "sft")]
    _watch(TensorBoard(settings, None), tmp_path, again)  # type: ignore[arg-type]
    read = EventAccumulator(str(tmp_path / "tensorboard" / "sft"))
    read.Reload()
    losses = [(point.step, point.value) for point in read.Scalars("loss")]
    assert losses == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0), (7, 2.0)]
    assert read.Scalars("timing/seconds")[0].value == 2.0
    assert [point.value for point in read.Scalars("verdicts/gsm8k/scored")] == [5.0]


def test_wandb_that_is_not_installed_is_told_with_the_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    observer = WeightsAndBiases(WandbSettings(), None)  # type: ignore[arg-type]
    with pytest.raises(MissingExtra, match=r"pip install 'aftertrain\[wandb\]'"):
        observer.open(tmp_path)


def test_wandb_is_given_curves_per_stage_and_the_same_identity_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Any]] = []

    class Run:
        summary: dict[str, float] = {}  # noqa: RUF012

        def define_metric(self, *args: Any, **kwargs: Any) -> None:
            calls.append(("define", (args, kwargs)))

        def log(self, data: Any) -> None:
            calls.append(("log", data))

        def finish(self) -> None:
            calls.append(("finish", None))

    def init(**kwargs: Any) -> Run:
        calls.append(("init", kwargs))
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    start = Entry(RunStarted("quick", {"seed": 0}))
    for _ in range(2):
        observer = WeightsAndBiases(WandbSettings(mode="offline"), None)  # type: ignore[arg-type]
        _watch(observer, tmp_path, [start, _started(0), *_metrics([1], 0.5)])
    inits = [facts for name, facts in calls if name == "init"]
    assert inits[0] == inits[1]
    assert inits[0]["resume"] == "allow"
    assert inits[0]["config"] == {"seed": 0}
    assert next(facts for name, facts in calls if name == "log") == {
        "sft/loss": 0.5,
        "sft/timing/seconds": 2.0,
        "sft/step": 1,
    }
    assert calls[-1] == ("finish", None)
