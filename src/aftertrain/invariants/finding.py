"""One row of the table: what was compared, how far apart it was, how far apart it may be."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from aftertrain.core.errors import AftertrainError

State = Literal["holds", "broken", "not checked"]

INVARIANTS: dict[str, str] = {
    "finite": "loss and gradient are finite",
    "gradient": "gradient reaches every trainable weight, no frozen one",
    "dropout": "dropout is off",
    "packed": "packed = each sample alone",
    "neighbours": "other neighbours, other lengths",
    "chunked": "chunked = full logits",
    "accumulation": "one micro-batch = many",
    "order": "order of the samples",
    "filler": "samples of weight 0 count for nothing",
    "ranks": "one rank = two ranks",
    "reference": "cached = live reference",
    "resume": "resumed = uninterrupted",
    "saved": "saved folder = model in memory",
}
"""Name and meaning of each, in the order they are shown."""

EXACT = 0.0
TOLERANCES: dict[str, dict[str, float]] = {
    # The engine against itself. Sums of float32 in another order differ by some 1e-7 of their size, the states of a
    # deep model by 1e-6 to 1e-5. A gradient adds up what cancels, so that its tensors keep fewer digits than the loss;
    # so do metrics (a margin is a difference of large sums).
    "float32": {"scores": 2e-5, "loss": 1e-5, "metrics": 1e-4, "gradient": 5e-4},
    # Against other code, where every product of every layer is rounded otherwise. SmolLM2-135M's real weights, 30
    # layers with a few huge activations, are 1e-5, 6e-6 and 4e-4 away.
    "float32 plain": {"scores": 1e-4, "loss": 1e-4, "gradient": 5e-3},
    # bfloat16 keeps 8 bits: each product is off by up to 4e-3, and another shape of the same product rounds otherwise.
    # Metrics are not compared: a count of comparisons (accuracy) moves in whole samples.
    "bfloat16": {"scores": 3e-2, "loss": 1e-2, "gradient": 1e-1},
    # bfloat16 against float32.
    "bfloat16 plain": {"scores": 5e-2, "loss": 3e-2, "gradient": 2e-1},
}
"""Largest deviation that is rounding, by precision of the products and by what is compared: of scores relative to the
largest, of a loss or metric relative to itself, of a gradient per weight tensor, by norms."""


class NotChecked(AftertrainError):
    """An invariant that cannot be checked here; the message says why."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A deviation and the largest that is still rounding; 0 where bits must be equal or something is counted."""

    name: str
    deviation: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """False for NaN, too."""
        return self.deviation <= self.tolerance


@dataclass(frozen=True)
class Finding:
    """What became of one invariant.

    Attributes:
        invariant: its name in `INVARIANTS`.
        compared: what was, with units and numbers.
        note: where the deviation is largest, why it is broken or not checked; facts worth knowing.
        seconds: that the check took.
    """

    invariant: str
    compared: str = ""
    measures: tuple[Measure, ...] = ()
    note: str = ""
    failed: bool = False
    unchecked: bool = False
    seconds: float = 0.0

    @property
    def state(self) -> State:
        """`broken` if a measure is over its tolerance."""
        if self.unchecked:
            return "not checked"
        return "holds" if not self.failed and all(measure.holds for measure in self.measures) else "broken"

    def dump(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {
            "invariant": self.invariant,
            "meaning": INVARIANTS[self.invariant],
            "state": self.state,
            "compared": self.compared,
            "measures": [{**asdict(measure), "holds": measure.holds} for measure in self.measures],
            "note": self.note,
            "seconds": round(self.seconds, 1),
        }
