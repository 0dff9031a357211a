"""What a run's files say, as typed facts. Nothing here computes a result; absent keys give empty facts, never errors.

`events.jsonl` is the source; `manifest.json` adds the resolved recipe and the machine, `done.json` what a stage left.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aftertrain.core import events
from aftertrain.core.events import (
    Alarm,
    Balance,
    Contamination,
    Entry,
    Health,
    Missing,
    RowsTrained,
    RunStarted,
    Sample,
    ScoreRow,
    Speed,
)
from aftertrain.core.ground.openings import Opening
from aftertrain.core.records import Artifact
from aftertrain.core.run.manifest import Manifest
from aftertrain.plugins.report.chart import Series

RunStatus = Literal["finished", "failed", "interrupted", "unfinished"]
Status = Literal["done", "reused", "failed", "interrupted", "unfinished", "not started"]
Values = dict[str, dict[int, float]]


@dataclass(frozen=True, slots=True)
class Score(ScoreRow):
    """A score and the evaluation that found it."""

    stage: str = ""


@dataclass(frozen=True, slots=True)
class Difference(events.Difference):
    """A difference and the evaluation that found it."""

    stage: str = ""


@dataclass(frozen=True, slots=True)
class Parent:
    """Where a stage's input came from."""

    role: str
    stage: str

    @property
    def compared(self) -> bool:
        """Whether its scores are only compared with: nothing of it goes into this stage's model or replies."""
        return self.role.partition(":")[0] == "compare"


@dataclass
class Stage:
    """One stage, filled while its events are read.

    Attributes:
        use: name of the stage component (`train`, `online`, `evaluate`).
        seconds: time its attempts spent in it, as far as the events tell.
        metrics, timing: finite values by step; NaN and infinities are counted in `not_finite` instead.
        verdicts: verifier -> outcome -> count, over all steps.
        dropped: reason -> rows.
        books: what was owed and what became of it, by unit.
        rows: what it trained on.
        samples: (step, reply).
        alarms: (step, alarm), those that are over and the events that say so among them.
        why: why it ran instead of being reused.
        data: content digests of its data by name.
    """

    name: str
    use: str = ""
    hash: str = ""
    status: Status = "not started"
    total: int | None = None
    step: int = 0
    parents: tuple[Parent, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    why: tuple[str, ...] = ()
    data: dict[str, str] = field(default_factory=dict)
    started: float | None = None
    seconds: float | None = None
    metrics: Values = field(default_factory=dict)
    timing: Values = field(default_factory=dict)
    not_finite: Counter[str] = field(default_factory=Counter)
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    dropped_examples: tuple[str, ...] = ()
    books: dict[str, Balance] = field(default_factory=dict)
    rows: RowsTrained | None = None
    warnings: list[str] = field(default_factory=list)
    samples: list[tuple[int | None, Sample]] = field(default_factory=list)
    alarms: list[tuple[int | None, Alarm]] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    health: list[Health] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    contamination: list[Contamination] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    speeds: list[Speed] = field(default_factory=list)
    artifact: Artifact | None = None
    folder: Path | None = None

    @property
    def source(self) -> str:
        """The stage whose model this one starts from or judges."""
        roles = {parent.role: parent.stage for parent in self.parents}
        return roles.get("model") or str(self.settings.get("from", "base"))

    def series(self, name: str, *, timing: bool = False, label: str = "") -> Series | None:
        """A metric by step, None when no finite value was recorded."""
        values = (self.timing if timing else self.metrics).get(name, {})
        if not values:
            return None
        steps = tuple(sorted(values))
        low, high = (self.metrics.get(f"{name}_{end}", {}) for end in ("low", "high"))
        known = not timing and all(step in low and step in high for step in steps)
        interval = tuple((low[step], high[step]) for step in steps) if known else ()
        return Series(label or name, steps, tuple(values[step] for step in steps), self.not_finite[name], interval)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of the run. `rewinds` are (stage, step): work after that step was done again."""

    number: int
    started: float
    ended: float
    how: str
    rewinds: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder's facts. `status` is that of the last attempt, `others` are plugins' own events."""

    folder: Path
    name: str
    status: RunStatus
    error: str
    manifest: Manifest
    recipe: dict[str, Any]
    started: RunStarted | None
    others: tuple[Entry, ...]
    stages: tuple[Stage, ...]
    attempts: tuple[Attempt, ...]
    warnings: tuple[str, ...]

    @property
    def scores(self) -> list[Score]:
        """All scores in the order of the stages."""
        return [score for stage in self.stages for score in stage.scores]

    @property
    def differences(self) -> list[Difference]:
        """All differences that the evaluations recorded."""
        return [difference for stage in self.stages for difference in stage.differences]

    def stage(self, name: str) -> Stage | None:
        """The stage of that name."""
        return next((stage for stage in self.stages if stage.name == name), None)
