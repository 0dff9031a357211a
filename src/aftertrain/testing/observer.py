"""What an observer promises: it takes any event, changes none, and closes however the run ends."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from aftertrain.core import events
from aftertrain.core.events.diary import EventLog
from aftertrain.core.observer import Observer
from aftertrain.core.records import Artifact
from aftertrain.testing.promise import Subject, require

STAGE = "sft"


def story() -> tuple[events.Entry, ...]:
    """A run's events, odd ones among them; one may end it after any of them."""
    return (
        events.Entry(events.RunStarted("made-up", order=(STAGE, "dpo"))),
        events.Entry(events.StageStarted("train", hash="0" * 16, inputs={"model": "base"}), STAGE),
        events.Entry(events.Metrics({"loss": 1.5, "learning_rate": 1e-3, "tokens": 10}, {"seconds": 0.1}), STAGE, 1),
        events.Entry(events.Metrics({"loss": float("nan"), "a metric/with: odd name": 0.0}), STAGE, 2),
        events.Entry(events.Progress(1, 2, "steps"), STAGE),
        events.Entry(events.Progress(2, unit="prompts"), STAGE),
        events.Entry(
            events.Sample("1 < 2 & <b>?", "\u202eyes\x00 </script>", 0.0, (events.SampleVerdict("gsm8k", "timeout"),)),
            STAGE,
            2,
        ),
        events.Entry(events.VerdictCounts({"gsm8k": {"scored": 3, "unparsable": 1}}), STAGE, 2),
        events.Entry(events.Dropped({"overlong": 2}, ("a", "b")), STAGE),
        events.Entry(events.Checkpointed("checkpoints/step-00000002"), STAGE, 2),
        events.Entry(events.Warned("[bold]odd[/] {text} %s"), STAGE),
        events.Entry(events.Other("acme/new", {"nested": {"list": [1, None, "x"]}}), STAGE, 2),
        events.Entry(events.Rewind(), STAGE, 1),
        events.Entry(events.StageDone(Artifact("model", "model", STAGE, "0" * 16), events.Timing(1.0)), STAGE),
        events.Entry(events.StageReused("1" * 16), "dpo"),
    )


def it_takes_every_event(subject: Subject) -> None:
    """A whole run's events, unknown names and odd texts among them, pass without an exception."""
    _play(subject, story(), events.RunDone(events.Timing(1.0)))


def it_closes_when_a_run_fails(subject: Subject) -> None:
    """It closes after `run_failed`, in the middle of a stage or before the first."""
    _play(subject, story()[:5], events.RunFailed("disk full"))
    _play(subject, story()[:1], events.RunFailed("disk full"))


def _play(subject: Subject, entries: Sequence[events.Entry], last: events.Event) -> None:
    observer: Observer[Any] = subject.component()
    folder = Path(tempfile.mkdtemp(dir=subject.folder))

    def listen(entry: events.Entry) -> None:
        before = repr(entry)
        observer.on_event(entry)
        require(repr(entry) == before, f"it changes the event {entry.name!r}")

    observer.open(folder)
    with closing(EventLog(folder / "events.jsonl", listen)) as log:
        for entry in (*entries, events.Entry(last)):
            log.emit(entry.event, entry.stage, entry.step)
    observer.close()
