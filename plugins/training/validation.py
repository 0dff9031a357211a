"""Loss and metrics on rows that are not trained on, now and then in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aftertrain.core.engine import Engine
from aftertrain.core.learning.step import measure
from aftertrain.core.loss import Loss
from aftertrain.core.packed.packing import Atom, pack_share
from aftertrain.core.ranks import Ranks
from aftertrain.plugins.training.settings import ValidationSettings


class Validation:
    """Held-out rows, packed once.

    Attributes:
        rows: how many rows (pairs) there are.
    """

    def __init__(self, settings: ValidationSettings, atoms: Sequence[Atom], budget: int, ranks: Ranks) -> None:
        self.rows, self._settings = len(atoms), settings
        self._batches = pack_share(atoms, budget, rank=ranks.rank, ranks=ranks.size)

    def due(self, step: int, total: int) -> bool:
        """Whether it is measured after that step: every so many, and after the last."""
        return self._settings.due(step, total)

    def figures(self, engine: Engine[Any], loss: Loss[Any], *, progress: float) -> dict[str, float]:
        """The loss and its metrics over all rows, by names that begin with `validation_`, and how many rows."""
        (term,) = loss.needs.per
        losses, metrics = measure({term: engine}, loss, self._batches, progress=progress)
        figures = {"loss": losses[term], **metrics, "rows": float(self.rows)}
        return {f"validation_{name}": value for name, value in figures.items()}
