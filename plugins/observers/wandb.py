"""Weights & Biases, an extra."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from aftertrain.core.errors import MissingExtra
from aftertrain.core.events import Entry, Metrics, RunStarted, Scores, StageStarted
from aftertrain.core.ground.wording import at_temperature
from aftertrain.core.observer import Observer
from aftertrain.plugins.observers.settings import WandbSettings


class WeightsAndBiases(Observer[WandbSettings]):
    """One run there per run here: a resume goes on in it. Each stage's curves have the stage's own step axis."""

    Config = WandbSettings

    def open(self, run_folder: Path) -> None:
        """Import the package, so that a missing one is told before anything starts.

        Raises:
            MissingExtra: wandb is not installed.
        """
        try:
            import wandb
        except ImportError as error:
            if error.name != "wandb":
                raise
            raise MissingExtra("wandb", "wandb", "observer 'wandb'") from error
        self.wandb: Any = wandb
        self.folder = run_folder
        self.run: Any = None

    def on_event(self, entry: Entry) -> None:
        """Send what has a curve; summaries for scores."""
        stage = entry.stage
        match entry.event:
            case RunStarted() as started:
                self._start(started)
            case StageStarted():
                self.run.define_metric(f"{stage}/step")
                self.run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            case Metrics(values=values, timing=timing):
                numbers = {**values, **{f"timing/{name}": value for name, value in timing.items()}}
                self.run.log(
                    {f"{stage}/{name}": value for name, value in numbers.items()} | {f"{stage}/step": entry.step}
                )
            case Scores(scores=rows):
                for row in (row for row in rows if row.interval is not None):
                    drawn = at_temperature(row.temperature, "/temperature ")
                    self.run.summary[f"{stage}/{row.task}/{row.metric}{drawn}"] = row.mean

    def close(self) -> None:
        """Finish the run."""
        if self.run is not None:
            self.run.finish()

    def _start(self, started: RunStarted) -> None:
        identity = hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
        self.run = self.wandb.init(
            project=self.settings.project,
            entity=self.settings.entity,
            mode=self.settings.mode,
            dir=str(self.folder),
            name=started.name,
            id=identity,
            resume="allow",
            config=started.recipe,
        )
