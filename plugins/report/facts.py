"""What a run's files say, as typed facts. Nothing here computes a result; absent keys give empty facts, never errors.

`events.jsonl` is the source; `manifest.json` adds the resolved recipe and the machine, `done.json` what a stage left.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aftertrain.plugins.report.chart import Series

Status = Literal["done", "reused", "failed", "interrupted", "unfinished", "not started"]
Values = dict[str, dict[int, float]]


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's mean with its 95 % interval. `temperature` is None where nothing is sampled.

    Attributes:
        unjudged: replies that could not be judged; `lowest` and `highest` are the mean if all were wrong, or right.
    """

    stage: str
    task: str
    metric: str
    temperature: float | None
    mean: float
    low: float
    high: float
    n: int
    fingerprint: str = ""
    primary: bool | None = None
    unjudged: int = 0
    lowest: float | None = None
    highest: float | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of (this stage - `against`) over the same instances, with its 95 % interval.

    Attributes:
        better, worse: instances whose score rose or fell; None where it was not recorded.
        p: the p-value, adjusted by Holm's method where recorded; None where there is none.
        unjudged: pairs of which a reply could not be judged; `lowest` and `highest` bound the mean over them.
    """

    stage: str
    against: str
    task: str
    metric: str
    temperature: float | None
    mean: float
    low: float
    high: float
    n: int
    better: int | None = None
    worse: int | None = None
    p: float | None = None
    unjudged: int = 0
    lowest: float | None = None
    highest: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How the replies of one task and temperature ended."""

    task: str
    temperature: float | None
    n: int
    truncated: int
    empty: int
    mean_tokens: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One verdict on a sampled reply, as written in the events."""

    verifier: str
    outcome: str
    value: float | None
    extracted: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Sampled:
    """A reply sampled while training."""

    step: int | None
    prompt: str
    response: str
    reward: float | None
    verdicts: tuple[Judged, ...]


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
        rows: what the event `rows` said of the rows trained on.
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
    rows: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    samples: list[Sampled] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    health: list[Health] = field(default_factory=list)
    artifact: dict[str, Any] = field(default_factory=dict)
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
        return Series(label or name, steps, tuple(values[step] for step in steps), self.not_finite[name])


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
    """A run folder's facts. `status` is that of the last attempt."""

    folder: Path
    name: str
    status: Literal["finished", "failed", "interrupted", "unfinished"]
    error: str
    manifest: dict[str, Any]
    recipe: dict[str, Any]
    started: dict[str, Any]
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
