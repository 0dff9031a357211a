"""Small batches and made-up scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from aftertrain.core.batch import CHOSEN, REJECTED, SINGLE, PackedBatch, TokenScores
from aftertrain.core.packed.packing import Segment, collate


class DirectBuilder:
    """Builds a loss named by its class."""

    def build(self, use: Any) -> Any:
        return use.name(use.settings, self)


@pytest.fixture
def build() -> Callable[..., Any]:
    """`build(Loss, **settings)`."""
    return lambda kind, **settings: kind(kind.Config(**settings), DirectBuilder())


Reply = Sequence[float]


def pack(
    replies: Sequence[Reply],
    *,
    paired: bool,
    weights: Sequence[float] | None = None,
    columns: Any = None,
    **facts: Sequence[float],
) -> tuple[PackedBatch, torch.Tensor]:
    """Each reply's log-probs after a prompt of two tokens; pairs are (chosen, rejected, chosen, rejected …).

    `facts` are further fields of the segments: a label or margin for each.

    Returns:
        The batch, and its log-probs with 9.9 at the prompt, where no loss may look.
    """
    segments, logprobs = [], []
    for i, reply in enumerate(replies):
        n = 2 + len(reply)
        role = (CHOSEN, REJECTED)[i % 2] if paired else SINGLE
        extra = {name: [7.7, 7.7, *column[i]] for name, column in (columns or {}).items()}
        weight = 1.0 if weights is None else weights[i]
        segments.append(
            Segment(
                f"s{i}",
                range(3, 3 + n),
                [False, False] + [True] * len(reply),
                role=role,
                group=i // 2,
                weight=weight,
                columns=extra,
                **{name: values[i] for name, values in facts.items()},  # type: ignore[arg-type]
            )
        )
        logprobs += [9.9, 9.9, *reply]
    return collate(segments), torch.tensor(logprobs, requires_grad=True)


@pytest.fixture
def packed() -> Callable[..., tuple[PackedBatch, torch.Tensor]]:
    """`packed(replies, paired=…, weights=…, columns=…)`; see `pack`."""
    return pack


@pytest.fixture
def value() -> Callable[..., tuple[float, torch.Tensor, dict[str, float]]]:
    """`value(loss, batch, scores)`: the divided loss, its gradient in the scores, the divided metrics.

    `others` are further scores, and statistics are those of the batch alone.
    """

    def run(
        loss: Any, batch: PackedBatch, scores: torch.Tensor, name: str = "logprobs", **others: torch.Tensor
    ) -> tuple[float, torch.Tensor, dict[str, float]]:
        given = TokenScores(**{name: scores, **others})
        if loss.needs.statistics and not batch.statistics:
            batch = batch.with_statistics(loss.statistics(batch, given))
        output = loss(batch.with_masks(loss.needs.masks), given)
        ((term, numerator),) = output.terms.items()
        divided = numerator / batch.count(loss.needs.per[term])
        (gradient,) = torch.autograd.grad(divided, scores)
        return divided.item(), gradient, {k: float(r.sum) / float(r.count) for k, r in output.metrics.items()}

    return run
