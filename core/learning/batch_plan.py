"""Which rows form step t: a pure function of seed, row count and settings.

The position in the data is the step number, so that resuming needs no iterator state, and micro-batching or the number
of ranks may regroup a step but never change its members.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from aftertrain.core.learning.seeding import sub_seed


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Steps over shuffled epochs.

    Attributes:
        n_rows: rows in one epoch.
        rows_per_step: rows that one optimizer step sees; the last step of an epoch may be short, and epochs never mix
            within a step.
        drop_last: an epoch ends before a step that would be short; each leaves out other rows.
        epochs: passes over the data.
        seed: of the shuffles.
    """

    n_rows: int
    rows_per_step: int
    epochs: int
    seed: int
    drop_last: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass."""
        return self.n_rows // self.rows_per_step if self.drop_last else -(-self.n_rows // self.rows_per_step)

    @property
    def n_steps(self) -> int:
        """Optimizer steps in all."""
        return self.steps_per_epoch * self.epochs

    def rows(self, step: int) -> Sequence[int]:
        """Row numbers of step `step`, counted from 0."""
        if not 0 <= step < self.n_steps:
            raise IndexError(f"step {step} of a plan of {self.n_steps} steps")
        epoch, within = divmod(step, self.steps_per_epoch)
        return self.order(epoch)[within * self.rows_per_step : (within + 1) * self.rows_per_step]

    def order(self, epoch: int) -> Sequence[int]:
        """All row numbers in the order of an epoch, counted from 0."""
        return _shuffled(self.n_rows, sub_seed(self.seed, "epoch", epoch))


@lru_cache(maxsize=2)
def _shuffled(n: int, seed: int) -> tuple[int, ...]:
    order = list(range(n))
    random.Random(seed).shuffle(order)
    return tuple(order)
