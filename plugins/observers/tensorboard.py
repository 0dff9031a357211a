"""TensorBoard: one writer per stage, so that stages can be compared; a resume purges what it supersedes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from aftertrain.core.events import Entry, Metrics, Sample, Scores, StageDone, StageStarted, VerdictCounts
from aftertrain.core.ground.wording import at_temperature
from aftertrain.core.observer import Observer
from aftertrain.plugins.observers.settings import TensorBoardSettings

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(Observer[TensorBoardSettings]):
    """Scalars of `metrics` and `verdicts`, texts of `sample`, points of `scores`."""

    Config = TensorBoardSettings

    def open(self, run_folder: Path) -> None:
        """Remember where to write."""
        self.folder = run_folder / self.settings.folder
        self.writers: dict[str, SummaryWriter] = {}
        self.written: tuple[str, int | None, int] = ("", None, 0)

    def on_event(self, entry: Entry) -> None:
        """Write what has a curve."""
        match entry.event:
            case StageStarted(resumed_from=step):
                self._writer(entry.stage, purge=step + 1)
            case Metrics(values=values, timing=timing):
                self._scalars(entry, {**values, **{f"timing/{name}": value for name, value in timing.items()}})
            case VerdictCounts(counts=counts):
                outcomes = {f"{who}/{what}": n for who, by in counts.items() for what, n in by.items()}
                self._scalars(entry, {f"verdicts/{name}": n for name, n in outcomes.items()})
            case Sample() as sample:
                self._sample(entry, sample)
            case Scores(scores=rows):
                for row in (row for row in rows if row.interval is not None):
                    name = f"scores/{row.task}/{row.metric}{at_temperature(row.temperature, '/temperature ')}"
                    self._writer(entry.stage).add_scalar(name, row.mean, 0)
            case StageDone() if entry.stage in self.writers:
                self.writers.pop(entry.stage).close()

    def close(self) -> None:
        """Flush and close every writer."""
        while self.writers:
            self.writers.popitem()[1].close()

    def _writer(self, stage: str, purge: int | None = None) -> SummaryWriter:
        if stage not in self.writers:
            from torch.utils.tensorboard import SummaryWriter

            self.writers[stage] = SummaryWriter(str(self.folder / stage), purge_step=purge)
        return self.writers[stage]

    def _scalars(self, entry: Entry, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer(entry.stage).add_scalar(name, value, entry.step)

    def _sample(self, entry: Entry, sample: Sample) -> None:
        stage, step, count = self.written
        count = count + 1 if (stage, step) == (entry.stage, entry.step) else 1
        self.written = (entry.stage, entry.step, count)
        if count <= self.settings.shown:
            text = f"**{sample.prompt}**\n\n{sample.response}\n\nreward {sample.reward}"
            self._writer(entry.stage).add_text(f"sample {count}", text, entry.step)
