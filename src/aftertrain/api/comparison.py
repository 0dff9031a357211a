"""What a comparison of evaluations found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from aftertrain.core.clusters import LEAST_CLUSTERS, t95
from aftertrain.core.statistics import Z80, Z95, detectable

if TYPE_CHECKING:
    from aftertrain.api.reply_gaps import ReplyGap
    from aftertrain.core.events import Contamination, Difference, ScoreRow
    from aftertrain.core.stage import Flip

TINY = 1e-7
"""Spread that is rounding: of squares about 1e-16, of which it is the root."""
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
        contamination: by side, what is known of each task's questions in the data that made the model; nothing of
            another evaluator's.
        reply_gaps: by other side, greedy replies that differ, with the gap of the two likeliest tokens where they part;
            of another evaluator's run where the model is given.
    """

    sides: tuple[str, ...]
    scores: Mapping[Key, tuple[ScoreRow | None, ...]]
    differences: Mapping[str, tuple[Difference, ...]]
    flips: Mapping[str, tuple[Flip, ...]]
    headlines: frozenset[tuple[str, str]] = frozenset()
    unlike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reply_gaps: Mapping[str, tuple[ReplyGap, ...]] = field(default_factory=dict)
    contamination: Mapping[str, Mapping[str, Contamination]] = field(default_factory=dict)

    def contaminated(self, task: str) -> tuple[str, ...]:
        """Of each side, its questions in the data that made the model; `unknown` where that was not recorded."""
        known = (self.contamination.get(side, {}).get(task) for side in self.sides)
        return tuple("unknown" if row is None else str(row) for row in known)

    def facts(self) -> dict[str, Any]:
        """As plain data: sides, scores, differences with what they find, and changed questions."""
        return {
            "sides": list(self.sides),
            "scores": [[None if cell is None else asdict(cell) for cell in cells] for cells in self.scores.values()],
            "differences": {side: list(map(self._fact, rows)) for side, rows in self.differences.items()},
            "flips": {side: [asdict(flip) for flip in flips] for side, flips in self.flips.items()},
            "unlike": {side: list(tasks) for side, tasks in self.unlike.items()},
            "notes": list(self.notes),
            "contamination": {
                side: [asdict(row) for row in by_task.values()] for side, by_task in self.contamination.items()
            },
            "reply_gaps": {
                side: [{**asdict(gap), "gap": gap.gap} for gap in gaps] for side, gaps in self.reply_gaps.items()
            },
        }

    def _fact(self, row: Difference) -> dict[str, Any]:
        headline = (row.task, row.metric) in self.headlines
        return {**asdict(row), "detects": detects(row), "headline": headline}


def detects(row: Difference) -> float | None:
    """The least difference that so many pairs find with power 80 %, as much of them changed as here; None for none.

    Of values other than 0 and 1 by the spread of their differences, at least by that of as many independent ones; none
    where they do not spread. Pairs of few clusters find none, whatever they are (`LEAST_CLUSTERS`).
    """
    if row.better is None or row.worse is None or (row.clusters is not None and row.clusters < LEAST_CLUSTERS):
        return None
    if not _whole_changes(row):
        spread = _spread(row)
        quantile = Z95 if row.clusters is None else t95(row.clusters - 1)
        return (quantile + Z80) * spread if spread else None
    if row.clusters is not None and row.effect is None:
        return None
    return detectable(row.n, max(row.better + row.worse, 1) / row.n, row.effect or 1.0)


def discordance(row: Difference) -> float | None:
    """Share of pairs that one side answers and the other does not; None where it was not recorded.

    Of values between 0 and 1 the share of whole changes that would spread as much, which is the mean of the squared
    differences: that almost every pair changed a little says nothing.
    """
    if row.better is None or row.worse is None:
        return None
    if row.square is not None:
        return min(1.0, row.square)
    return (row.better + row.worse) / row.n if _whole_changes(row) else None


def _spread(row: Difference) -> float:
    """Standard error of graded differences: by clusters, which may cancel, and no less than without them."""
    if row.error is None or row.square is None or row.n < 2:
        return 0.0
    alone = math.sqrt(max(0.0, row.square - row.mean**2) / (row.n - 1))
    spread = max(row.error, alone)
    return spread if spread > TINY else 0.0


def _whole_changes(row: Difference) -> bool:
    """Whether each pair that changed did so by 1, as right and wrong do, and all weigh the same."""
    better, worse = row.better or 0, row.worse or 0
    by_one = row.square is None or math.isclose(row.square, (better + worse) / row.n, abs_tol=1e-9)
    return by_one and math.isclose(row.mean, (better - worse) / row.n, abs_tol=1e-9)
