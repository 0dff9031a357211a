"""What a comparison of evaluations found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from aftertrain.core.statistics import detectable

if TYPE_CHECKING:
    from aftertrain.core.events import Difference, ScoreRow
    from aftertrain.core.stage import Flip

Key = tuple[str, str, float | None]
"""Task, metric and temperature."""


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        sides: `RUN:STAGE` of each, the one that the others are compared with first.
        scores: the recorded scores of each side that have the same task, by (task, metric, temperature).
        differences: by other side, to the first; the p-values of tasks' headlines are adjusted by Holm's method over
            all sides, those of other figures are left as they are, without `p_holm`.
        flips: by other side, the questions whose headline value changed.
        headlines: (task, metric) of each task's main figure.
        unlike: by other side, the tasks that both have and that differ in data, prompts or rules; they are left out.
        notes: what a reader should know of how sides were paired.
    """

    sides: tuple[str, ...]
    scores: Mapping[Key, tuple[ScoreRow | None, ...]]
    differences: Mapping[str, tuple[Difference, ...]]
    flips: Mapping[str, tuple[Flip, ...]]
    headlines: frozenset[tuple[str, str]] = frozenset()
    unlike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """As plain data: sides, scores, differences with what they find, and changed questions."""
        return {
            "sides": list(self.sides),
            "scores": [[None if cell is None else asdict(cell) for cell in cells] for cells in self.scores.values()],
            "differences": {side: list(map(self._fact, rows)) for side, rows in self.differences.items()},
            "flips": {side: [asdict(flip) for flip in flips] for side, flips in self.flips.items()},
            "unlike": {side: list(tasks) for side, tasks in self.unlike.items()},
            "notes": list(self.notes),
        }

    def _fact(self, row: Difference) -> dict[str, Any]:
        headline = (row.task, row.metric) in self.headlines
        return {**asdict(row), "detects": detects(row), "headline": headline}


def detects(row: Difference) -> float | None:
    """The least difference that so many pairs find with power 80 %, as many of them changed as here; None for none."""
    if row.better is None or row.worse is None:
        return None
    return detectable(row.n, max(row.better + row.worse, 1) / row.n, row.effect or 1.0)
