"""How fast the outputs of each task are made and scored, and what they cost. Nothing of it decides a result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from aftertrain.core.engine import Continuation
from aftertrain.core.events import Speed

Cell = tuple[str, float | None]
"""Task and temperature."""


@dataclass
class Work:
    """What a block takes, filled while it runs. `opening` are seconds of loading a model, which are none of its own."""

    read: int = 0
    written: int = 0
    recalled: int = 0
    cost: float = 0.0
    opening: float = 0.0


class Speeds:
    """Of one process."""

    def __init__(self) -> None:
        self._of: dict[Cell, Speed] = {}

    @contextmanager
    def of(self, task: str, temperature: float | None, outputs: int) -> Iterator[Work]:
        """Measure a block of so many outputs; one that fails is not counted."""
        work, started = Work(), time.monotonic()
        yield work
        seconds = max(0.0, time.monotonic() - started - work.opening)
        fresh = Speed(task, temperature, outputs, work.recalled, seconds, work.read, work.written, work.cost)
        cell = (task, temperature)
        self._of[cell] = _sum(self._of[cell], fresh, fresh.seconds) if cell in self._of else fresh

    def found(self) -> Mapping[Cell, Speed]:
        """So far, by task and temperature."""
        return dict(self._of)


def together(ranks: Sequence[Mapping[Cell, Speed]]) -> list[Speed]:
    """Of several processes that work at once: as long as the slowest takes."""
    whole: dict[Cell, Speed] = {}
    for found in ranks:
        for cell, speed in found.items():
            before = whole.get(cell)
            more = 0.0 if before is None else max(0.0, speed.seconds - before.seconds)
            whole[cell] = speed if before is None else _sum(before, speed, more)
    return list(whole.values())


def tokens_read(continuations: Sequence[Continuation]) -> int:
    """Of one instance: each context once, and what is scored after it.

    >>> tokens_read([Continuation((1, 2, 3), 2), Continuation((1, 2, 4, 5), 2), Continuation((9, 3), 1)])
    7
    """
    contexts = {item.token_ids[: item.n_context] for item in continuations}
    return sum(map(len, contexts)) + sum(len(item.token_ids) - item.n_context for item in continuations)


def _sum(before: Speed, more: Speed, seconds: float) -> Speed:
    return replace(
        before,
        outputs=before.outputs + more.outputs,
        recalled=before.recalled + more.recalled,
        seconds=before.seconds + seconds,
        read=before.read + more.read,
        written=before.written + more.written,
        cost=before.cost + more.cost,
    )
