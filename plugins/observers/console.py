"""The console observer: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shlex
import sys
from collections import deque
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from aftertrain.core import events
from aftertrain.core.events.lines import event_of
from aftertrain.core.observer import Observer
from aftertrain.core.records import Artifact
from aftertrain.plugins.observers import online, wording
from aftertrain.plugins.observers.plain import PlainView
from aftertrain.plugins.observers.progress import Progress
from aftertrain.plugins.observers.settings import ConsoleSettings

if TYPE_CHECKING:
    from aftertrain.plugins.observers.live import LiveView

RECENT = 10
"""Steps whose mean is shown when a stage is done."""


class Console(Observer[ConsoleSettings]):
    """Tells a person how the run goes."""

    Config = ConsoleSettings

    def open(self, run_folder: Path) -> None:
        """Choose the view."""
        self.folder = run_folder
        self.stages: dict[str, Progress] = {}
        self.texts: dict[str, tuple[str, ...]] = {}
        self.held_out: dict[str, dict[str, float]] = {}
        self.alarms: dict[str, list[str]] = {}
        self.recent: dict[str, deque[events.Metrics]] = {}
        self.scores: dict[str, tuple[events.ScoreRow, ...]] = {}
        self.models: dict[str, str] = {}
        style = self.settings.style
        if style == "live" or (style == "auto" and sys.stdout.isatty()):
            from aftertrain.plugins.observers.live import LiveView

            self.view: LiveView | PlainView = LiveView()
        else:
            self.view = PlainView(self.settings.every_seconds)

    def on_event(self, entry: events.Entry) -> None:  # noqa: PLR0912, PLR0915  a case for each event
        """Tell what is worth telling; the rest is in `events.jsonl` and the report."""
        stage, line = entry.stage, self.view.line
        match entry.event:
            case events.RunStarted(name=name, order=order):
                again = f", attempt {entry.attempt}" if entry.attempt > 1 else ""
                line(f"{name}{again} in {self.folder}: {', '.join(order)}", "bold")
            case events.DataCheck(at=at):
                line(f"{at}: checking its data", "dim")
            case events.StageReused(artifact=artifact):
                line(f"{stage}: done already, reused", "dim")
                self._left(stage, artifact)
            case events.StageStarted(use=use, resumed_from=step):
                self.stages[stage] = Progress(started=entry.time)
                self.texts[stage] = ()
                self.held_out[stage], self.alarms[stage] = {}, []
                self.recent[stage] = deque(maxlen=RECENT)
                line(f"{stage}: {use}" + (f", goes on after step {step}" if step else ""))
                self.view.progress(stage, self.stages[stage], "loading")
            case events.Metrics() as metrics:
                progress = self.stages[stage]
                if progress.unit in ("", "steps") and entry.step is not None:
                    progress.at(entry.step, progress.total, "steps", entry.time)
                self.texts[stage] = self._words(stage, metrics)
                self.recent[stage].append(metrics)
                self.view.progress(stage, progress, *self.texts[stage])
            case events.Progress(done=done, total=total, unit=unit):
                self.stages[stage].at(done, total, unit, entry.time)
                self.view.progress(stage, self.stages[stage], *self.texts[stage])
            case events.Alarm() as alarm:
                self._alarm(stage, alarm)
            case events.Warned(message=message):
                line(f"{stage or 'run'}: warning: {message}", "yellow")
            case events.Dropped(counts=counts) if any(counts.values()):
                reasons = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in counts.items() if n)
                line(f"{stage}: rows left out: {reasons}", "yellow")
            case events.Saved() as saved:
                line(f"{stage}: {wording.saved(saved)}", "dim")
            case events.Books(units=units) if units:
                line(f"{stage}: {wording.books(units)}", "dim")
            case events.Skipped(message=message):
                line(f"{stage}: no update: {message}", "yellow")
            case events.Scores(scores=scores, differences=differences):
                self.scores[stage] = scores
                for words in (*map(wording.score, scores), *map(wording.difference, differences)):
                    line(f"{stage}: {words}", "cyan")
            case events.StageDone(artifact=artifact, timing=timing):
                self.view.finish(stage)
                self._left(stage, artifact)
                last = wording.closing(self.recent.get(stage, ()))
                line(f"{stage}: done{_took(timing)}" + (f"  {last}" if last else ""), "green")
            case events.RunDone(timing=timing):
                line(f"all stages are done{_took(timing)}", "bold green")
                self._conclude()
            case events.RunFailed(at=at, interrupted=interrupted):
                where = f" in stage {at}" if at else ""
                if interrupted:
                    line(f"stopped{where}; the same command goes on from here", "yellow")
                else:
                    line(f"failed{where}", "bold red")

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.view.close()

    def _words(self, stage: str, metrics: events.Metrics) -> tuple[str, ...]:
        """A step's figures: on one line, or as online learning has them."""
        if not online.is_online(metrics.values):
            return (wording.metrics(metrics),)
        self.held_out[stage] |= {n: v for n, v in metrics.values.items() if n.startswith("validation_")}
        return online.lines(metrics, self.held_out[stage], self.alarms[stage])

    def _alarm(self, stage: str, alarm: events.Alarm) -> None:
        """Tell an alarm with its advice, or that it is over."""
        standing = self.alarms.setdefault(stage, [])
        if alarm.cleared:
            self.view.line(f"{stage}: alarm {alarm.name} is over: {alarm.message}", "green")
            self.alarms[stage] = [name for name in standing if name != alarm.name]
            return
        told = [f"{stage}: alarm {alarm.name}: {alarm.message}", *wrap(alarm.advice, online.WIDTH)]
        self.view.line("\n".join(told), "bold red")
        self.alarms[stage] = [*standing, alarm.name]

    def _left(self, stage: str, artifact: Artifact | None) -> None:
        """Remember what a stage left."""
        if artifact is None:
            return
        if artifact.type == "scores":
            event = event_of(events.Scores, artifact.details)
            if isinstance(event, events.Scores):
                self.scores.setdefault(stage, event.scores)
        elif artifact.type != "data":
            self.models[stage] = artifact.path

    def _conclude(self) -> None:
        """What a run is made for: each evaluation's main scores, where the models are, and how to see more."""
        if not self.models and len(self.scores) < 2:
            return  # The scores of a single evaluation stand just above.
        for stage, rows in self.scores.items():
            for row in rows:
                if row.primary is not False:
                    self.view.line(f"score of {stage}: {wording.score(row)}", "cyan")
        for stage, path in self.models.items():
            self.view.line(f"model of {stage}: {path}")
        self.view.line(f"report: aftertrain report {shlex.quote(str(self.folder))}")


def _took(timing: events.Timing | None) -> str:
    return "" if timing is None else f" in {wording.duration(timing.seconds)}"
