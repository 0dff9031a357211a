"""The loss interface: a pure function from packed tokens and per-token scores to *sums*.

Who divides: a loss returns numerators. The stage counts tokens, segments or pairs over all micro-batches and ranks of
the step before the first backward, and the engine alone divides, so that 1x8 = 8x1 micro-batches and one rank = two.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from aftertrain.core.batch import PackedBatch, TokenScores, Unit
from aftertrain.core.component import Component
from aftertrain.core.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

S = TypeVar("S", bound=Settings)
Score = Literal["logprobs", "entropy", "log_sum_p2", "hits", "values"]
Atom = Literal["segment", "pair", "group"]
Mask = Literal["sequence", "chosen_sequence"]

TARGETS_PER_UNIT = "targets_per_unit"
"""Metric of a loss that is a sum over target tokens divided by a coarser unit: target tokens to a unit. A stage divides
the gradient's norm by it, for one that can be compared with that of a mean over tokens."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a loss must be given.

    Attributes:
        records: names of the record types it trains on: `Conversation`, `Document`, `PreferencePair`, `Feedback`,
            `Problem`.
        scores: fields of `TokenScores` that must be filled.
        columns: token columns the stage must supply: `reference_logprobs`, `old_logprobs`, `advantages` …
        atom: the packer never splits an atom across micro-batches.
        per: for each term, the unit its numerator is divided by. Terms are keyed by the model they train.
        masks: named masks beside `loss_mask` (see `PackedBatch.with_masks`); their tokens are scored too.
        margins: every pair must have a margin, in the segment column `margin`.
        statistics: whether `Loss.statistics` is to be asked before the loss runs, which costs a second forward.
        probes: what the stage lays beside each sample for `statistics` alone. `mismatched`: the sample's prompt with
            the reply of another sample. Probes are scored without gradient and the loss itself does not see them.
    """

    records: frozenset[str]
    scores: frozenset[Score] = frozenset({"logprobs"})
    columns: frozenset[str] = frozenset()
    atom: Atom = "segment"
    per: Mapping[str, Unit] = field(default_factory=lambda: {"policy": "token"})
    masks: frozenset[Mask] = frozenset()
    margins: bool = False
    statistics: bool = False
    probes: Literal["mismatched"] | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """A metric as (sum, count), so that it can be added over micro-batches and ranks before dividing."""

    sum: Tensor | float
    count: Tensor | float


@dataclass(frozen=True, slots=True)
class LossOutput:
    """Numerator sums per term (scalar, float32, differentiable) and metrics (no gradient)."""

    terms: Mapping[str, Tensor]
    metrics: Mapping[str, Ratio] = field(default_factory=dict)


class Loss(Component[S]):
    """A loss. Subclasses are stateless: the same batch and scores give the same output."""

    kind: ClassVar[str] = "loss"
    weighs_by_constants: ClassVar[bool] = False
    """Whether scores that it detaches weigh its terms (an importance ratio), by design and not by mistake: only then
    does the conformance kit compare its gradient with that of the term under constant weights."""

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """What this loss, with these settings, must be given."""

    @abstractmethod
    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """Sums over `batch` of each term and metric. Segments of weight 0 must contribute nothing."""

    def token_sum(self, batch: PackedBatch, values: Tensor) -> Tensor:
        """Numerator of the term `policy` from a number per target token, `values` `[N]`, as this loss weighs tokens.

        What a stage adds to a loss, as a KL penalty, goes through it, so that its weight means the same beside every
        loss. By default a sum over tokens, or where the term counts segments, over segments of each one's mean.
        """
        if self.needs.per["policy"] == "token":
            return values[batch.targets].sum()
        return batch.segment_mean(values, batch.targets).sum()

    def statistics(self, batch: PackedBatch, scores: TokenScores) -> Mapping[str, Tensor]:
        """No-gradient sums over the whole step (all micro-batches and ranks), asked where `needs.statistics` says so.

        They come back in `batch.statistics`. Of a loss that needs probes, `batch` holds these alone.
        """
        raise NotImplementedError(f"{type(self).__name__} needs statistics and defines none")
