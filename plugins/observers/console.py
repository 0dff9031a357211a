"""The console observer: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from aftertrain.core.events import Event
from aftertrain.core.observer import Observer
from aftertrain.plugins.observers import wording
from aftertrain.plugins.observers.progress import Progress
from aftertrain.plugins.observers.settings import ConsoleSettings

RECENT = 10
"""Steps whose mean is shown when a stage is done."""


class View(Protocol):
    """How progress is drawn."""

    def line(self, text: str, style: str = "") -> None:
        """Write a line that stays."""

    def progress(self, stage: str, progress: Progress, text: str) -> None:
        """Show how far a stage is."""

    def finish(self, stage: str) -> None:
        """The stage is over."""

    def close(self) -> None:
        """The run is over."""


class Console(Observer[ConsoleSettings]):
    """Tells a person how the run goes."""

    Config = ConsoleSettings

    def open(self, run_folder: Path) -> None:
        """Choose the view."""
        self.folder = run_folder
        self.stages: dict[str, Progress] = {}
        self.texts: dict[str, str] = {}
        self.recent: dict[str, deque[Mapping[str, Any]]] = {}
        style = self.settings.style
        if style == "live" or (style == "auto" and sys.stdout.isatty()):
            from aftertrain.plugins.observers.live import LiveView

            self.view: View = LiveView()
        else:
            from aftertrain.plugins.observers.plain import PlainView

            self.view = PlainView(self.settings.every_seconds)

    def on_event(self, event: Event) -> None:
        """Tell what is worth telling; the rest is in `events.jsonl` and the report."""
        handler = getattr(self, f"_{event.name}", None)
        if handler is not None:
            handler(event)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.view.close()

    def _run_started(self, event: Event) -> None:
        again = f", attempt {event.attempt}" if event.attempt > 1 else ""
        stages = ", ".join(event.data.get("order", ()))
        self.view.line(f"{event.data['name']}{again} in {self.folder}: {stages}", "bold")

    def _data_check(self, event: Event) -> None:
        self.view.line(f"{event.data['at']}: checking its data", "dim")

    def _stage_reused(self, event: Event) -> None:
        self.view.line(f"{event.stage}: done already, reused", "dim")

    def _stage_started(self, event: Event) -> None:
        self.stages[event.stage] = Progress(started=event.time)
        self.texts[event.stage] = ""
        self.recent[event.stage] = deque(maxlen=RECENT)
        resumed = event.data.get("resumed_from")
        more = f", goes on after step {resumed}" if resumed else ""
        self.view.line(f"{event.stage}: {event.data['use']}{more}")

    def _metrics(self, event: Event) -> None:
        progress = self.stages[event.stage]
        if progress.unit in ("", "steps") and event.step is not None:
            progress.at(event.step, progress.total, "steps", event.time)
        self.texts[event.stage] = wording.metrics(event.data)
        self.recent[event.stage].append(event.data)
        self.view.progress(event.stage, progress, self.texts[event.stage])

    def _progress(self, event: Event) -> None:
        progress = self.stages[event.stage]
        unit = event.data.get("unit", "")
        progress.at(event.data["done"], event.data.get("total"), unit, event.time)
        self.view.progress(event.stage, progress, self.texts[event.stage])

    def _warning(self, event: Event) -> None:
        self.view.line(f"{event.stage or 'run'}: warning: {event.data['message']}", "yellow")

    def _dropped(self, event: Event) -> None:
        counts = {name: n for name, n in event.data.items() if isinstance(n, int) and n}
        if counts:
            told = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())
            self.view.line(f"{event.stage}: rows left out: {told}", "yellow")

    def _saved(self, event: Event) -> None:
        self.view.line(f"{event.stage}: {wording.saved(event.data)}", "dim")

    def _skipped(self, event: Event) -> None:
        self.view.line(f"{event.stage}: no update: {event.data['message']}", "yellow")

    def _scores(self, event: Event) -> None:
        for entry in event.data.get("scores", ()):
            self.view.line(f"{event.stage}: {wording.score(entry)}", "cyan")
        for entry in event.data.get("differences", ()):
            self.view.line(f"{event.stage}: {wording.difference(entry)}", "cyan")

    def _stage_done(self, event: Event) -> None:
        self.view.finish(event.stage)
        took = wording.duration(event.data["timing"]["seconds"])
        last = wording.closing(tuple(self.recent.get(event.stage, ())))
        self.view.line(f"{event.stage}: done in {took}" + (f"  {last}" if last else ""), "green")

    def _run_done(self, event: Event) -> None:
        self.view.line(f"all stages are done in {wording.duration(event.data['timing']['seconds'])}", "bold green")

    def _run_failed(self, event: Event) -> None:
        at = f" in stage {event.data['at']}" if event.data.get("at") else ""
        if event.data.get("interrupted"):
            self.view.line(f"stopped{at}; the same command goes on from here", "yellow")
        else:
            self.view.line(f"failed{at}", "bold red")
