"""How far a stage is, how fast, and how long it will take. Clocks come from the events."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Progress:
    """Progress of one stage in this attempt, counted from its first event: loading a model is no step.

    Attributes:
        started: time of the first event, seconds since the epoch; before it, of the stage's start.
        first: what was done by then.
    """

    started: float
    done: int = 0
    total: int | None = None
    unit: str = ""
    first: int | None = None
    now: float = 0.0

    def at(self, done: int, total: int | None, unit: str, now: float) -> None:
        """Take note of where the stage is. A new unit (another part of the stage) starts the count anew."""
        if self.first is None or unit != self.unit or done < self.done:
            self.first, self.started = done, now
        self.done, self.total, self.unit, self.now = done, total, unit, now

    @property
    def rate(self) -> float | None:
        """Units per second, or None before the second one."""
        seconds, units = self.now - self.started, self.done - (self.first or 0)
        return units / seconds if seconds > 0 and units > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds left, or None when unknown or over."""
        if self.total is None or self.rate is None or self.done >= self.total:
            return None
        return (self.total - self.done) / self.rate
