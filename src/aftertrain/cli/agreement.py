"""A verifier beside people: the column `human` of the lines that `aftertrain verify` judges (F41)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aftertrain.api.cases import FIELDS
from aftertrain.core.errors import nearest

if TYPE_CHECKING:
    from aftertrain.core.learning.rewards import VerifierError
    from aftertrain.core.records import Verdict
    from aftertrain.core.statistics import Interval

COLUMN = "human"
AIM = 0.05
"""E below which a verifier is good enough to train on, by the source."""


@dataclass
class Agreement:
    """Verdicts' values beside people's labels: of every line or of none, as the first one has it.

    Attributes:
        first: number of the first line, and whether it has a label.
        misspelt: a column of the first line that may be meant for one.
    """

    first: tuple[int, bool] | None = None
    misspelt: str | None = None
    values: list[float | None] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)

    def label(self, row: Mapping[str, Any], number: int) -> float | None:
        """The label of a line; None where no line has one.

        Raises:
            ValueError: it is no label, or some lines have one and others have none.
        """
        here = COLUMN in row
        if self.first is None:
            self.first = (number, here)
            self.misspelt = None if here else nearest(COLUMN, [name for name in row if name not in FIELDS])
        first, expected = self.first
        if here != expected:
            has, other = ("a label", "none") if here else ("no label", "one")
            raise ValueError(f"has {has} {COLUMN!r}, and line {first} has {other}: label every line, or none")
        if not here:
            return None
        label = row[COLUMN]
        if not isinstance(label, int | float) or not 0 <= label <= 1:  # a bool is an int, NaN is in no range
            raise ValueError(
                f"{COLUMN} is {label!r}; true, false or a number from 0 to 1 is needed, on the scale of the verdicts' "
                "scores"
            )
        return float(label)

    def add(self, verdict: Verdict, label: float) -> None:
        """Count one."""
        self.values.append(verdict.value)
        self.labels.append(label)

    def error(self) -> VerifierError | None:
        """E and the two rates; None where there is nothing to compare."""
        from aftertrain.core.learning.rewards import verifier_error

        if all(value is None for value in self.values):
            return None
        return verifier_error(self.values, self.labels)

    def lines(self) -> list[str]:
        """What to tell; where no line has a label, nothing but of a column that looks like one."""
        if not self.labels:
            return [f"note: people's labels are read from {COLUMN!r}, not {self.misspelt!r}"] if self.misspelt else []
        error = self.error()
        if error is None:
            return [f"people's labels: no verdict of {len(self.labels):,} has a score to compare with them"]
        unscored = ""
        if error.unscored:
            right = sum(value is None and label == 1 for value, label in zip(self.values, self.labels, strict=True))
            unscored = f"; left out without a score: {error.unscored:,} ({right:,} of right replies)"
        reached = "below" if error.error.mean < AIM else "not below"
        return [
            f"people's labels: E = {_shown(error.error)} of {error.error.n:,} ({reached} the aim of {AIM:g}){unscored}",
            f"  false positives (wrong, and rewarded in full): {_rate(error.false_positives, 'wrong')}",
            f"  false negatives (right, and not rewarded in full): {_rate(error.false_negatives, 'right')}",
        ]


def _shown(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _rate(rate: Interval | None, kind: str) -> str:
    if rate is None:
        return f"people hold no reply {kind}"
    return f"{_shown(rate)}, {round(rate.mean * rate.n):,} of {rate.n:,}"
