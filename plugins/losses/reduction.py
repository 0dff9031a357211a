"""From a number per token to the sum that a loss returns, and what divides it (F11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aftertrain.core.batch import PackedBatch, Unit
from aftertrain.core.loss import Needs
from aftertrain.plugins.losses.settings import Reduction

if TYPE_CHECKING:
    from torch import Tensor

UNITS: dict[Reduction, Unit] = {
    "sum": "segment",
    "token_mean": "token",
    "sequence_mean": "segment",
    "micro_batch_mean": "micro_batch",
}
TEXTS = frozenset({"Conversation", "Document"})
"""Records of which each target token counts by itself."""


def token_needs(reduction: Reduction, **others: Any) -> Needs:
    """What a loss that is a number per target token needs; `others` are further fields of `Needs`."""
    return Needs(records=TEXTS, per={"policy": UNITS[reduction]}, **others)


def reduce_tokens(batch: PackedBatch, values: Tensor, reduction: Reduction) -> Tensor:
    """Numerator over the target tokens of `values` `[N]`; its denominator counts `UNITS[reduction]`."""
    targets = batch.targets
    if reduction == "sequence_mean":
        return batch.segment_mean(values, targets).sum()
    total = values[targets].sum()
    return total / targets.sum().clamp(min=1) if reduction == "micro_batch_mean" else total
