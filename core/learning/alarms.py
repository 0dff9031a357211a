"""What goes wrong in online learning without an error, each under a name, with what to do about it.

An alarm is a pure function of a stage's metrics by step: same history, same alarms. It is told once, and again only
after it has cleared. `docs/online.md` has the table of them; thresholds and their reasons stand in `alarm_rules`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from aftertrain.core.errors import CheckpointError
from aftertrain.core.events import Alarm
from aftertrain.core.ground.reading import typed

BEGINNING, WINDOW, LONG = 5, 5, 20
"""Steps that a stage is held against, those that tell how it stands now, and those that are remembered."""
QUIET = 5
"""Steps in a row without its reason after which an alarm has cleared: one that comes and goes is told once."""
VALIDATION = "validation_accuracy"


@dataclass(frozen=True, slots=True)
class Step:
    """Metrics of one step, those that are finite."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class History:
    """What rules look at.

    Attributes:
        first: the stage's first `BEGINNING` steps.
        last: its newest `LONG` steps.
        best: of the steps that measured on held-out problems the best, with the mean reward by then.
        measured: the newest of these.
        broken: metrics that are NaN or infinite in the newest step.
    """

    first: tuple[Step, ...] = ()
    last: tuple[Step, ...] = ()
    best: Step | None = None
    measured: Step | None = None
    broken: tuple[str, ...] = ()

    def add(self, step: int, values: Mapping[str, float]) -> History:
        """With one step more."""
        new = Step(step, {name: float(value) for name, value in values.items() if math.isfinite(value)})
        later = replace(
            self,
            first=(*self.first, new)[:BEGINNING],
            last=(*self.last, new)[-LONG:],
            broken=tuple(name for name in values if name not in new.values),
        )
        if VALIDATION not in new.values:
            return later
        marked = Step(step, {**new.values, "reward": later.now("reward") or 0.0})
        better = self.best is None or marked.values[VALIDATION] > self.best.values[VALIDATION]
        return replace(later, measured=marked, best=marked if better else self.best)

    def column(self, name: str, steps: int = WINDOW) -> list[float]:
        """A metric in the newest steps that have it among the last `steps`; empty before a full window."""
        if len(self.last) < steps:
            return []
        return [step.values[name] for step in self.last[-steps:] if name in step.values]

    def now(self, name: str, steps: int = WINDOW) -> float | None:
        """Its mean over the newest steps; None before a full window, or where nothing has it."""
        return _mean(self.column(name, steps)) if len(self.last) >= steps else None

    def beginning(self, name: str) -> float | None:
        """Its mean over the first steps; None as long as these are among the newest."""
        if len(self.last) < BEGINNING or self.last[-WINDOW].step <= self.first[-1].step:
            return None
        return _mean([step.values[name] for step in self.first if name in step.values])

    def names(self, start: str) -> list[str]:
        """Metrics of the newest steps whose names begin so."""
        return sorted({name for step in self.last[-WINDOW:] for name in step.values if name.startswith(start)})


Check = Callable[[History], str | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """An alarm.

    Attributes:
        name: as events and the documentation call it.
        check: what is wrong, in words with the figures; None where nothing is.
        advice: what to look at, and what to do.
    """

    name: str
    check: Check
    advice: str


@dataclass
class Watch:
    """The alarms of one stage, step by step.

    Attributes:
        quiet: of each alarm that stands, for how many steps its reason has been gone.
    """

    rules: tuple[Rule, ...]
    history: History = field(default_factory=History)
    quiet: dict[str, int] = field(default_factory=dict)

    def look(self, step: int, values: Mapping[str, float]) -> list[Alarm]:
        """What begins with this step, and what is over.

        Args:
            step: counted from 1; steps are looked at once each, in order.
            values: the step's metrics, by name.
        """
        self.history = self.history.add(step, values)
        alarms = []
        for rule in self.rules:
            message = rule.check(self.history)
            if message is not None:
                if rule.name not in self.quiet:
                    alarms.append(Alarm(rule.name, message, rule.advice))
                self.quiet[rule.name] = 0
            elif rule.name in self.quiet:
                self.quiet[rule.name] += 1
                if self.quiet[rule.name] == QUIET:
                    del self.quiet[rule.name]
                    alarms.append(Alarm(rule.name, f"its reason has been gone for {QUIET} steps", cleared=True))
        return alarms

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold, as plain data."""
        return {"history": asdict(self.history), "quiet": dict(self.quiet)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            CheckpointError: it is no such state.
        """
        self.history = typed(state.get("history"), History, "history of alarms", error=CheckpointError)
        self.quiet = typed(state.get("quiet"), dict[str, int], "standing alarms", error=CheckpointError)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
