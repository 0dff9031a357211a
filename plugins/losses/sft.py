"""Supervised finetuning: cross-entropy of the replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.errors import RunError
from aftertrain.core.loss import TARGETS_PER_UNIT, Loss, LossOutput, Needs, Ratio
from aftertrain.plugins.losses.reduction import TEXTS, UNITS, reduce_tokens, token_needs
from aftertrain.plugins.losses.settings import SFTSettings

if TYPE_CHECKING:
    from torch import Tensor


class SFT(Loss[SFTSettings]):
    """Negative log-likelihood of the target tokens, and a regularizer: L + λ·R (F11).

    With y_s the target tokens of sequence s, over a step of S sequences, T target tokens and M micro-batches m:

        sum               (1/S) Σ_s Σ_i −log p(y_si)
        token_mean        (1/T) Σ_s Σ_i −log p(y_si)
        sequence_mean     (1/S) Σ_s mean_i −log p(y_si)
        micro_batch_mean  (1/M) Σ_m mean_si −log p(y_si), which depends on how the step is cut
    """

    Config = SFTSettings

    @cached_property
    def _regularizer(self) -> Loss[Any] | None:
        """R.

        Raises:
            RunError: R trains something else, or is divided by another unit.
        """
        if self.settings.regularizer is None:
            return None
        name, mine = self.settings.regularizer.name, {"policy": UNITS[self.settings.reduction]}
        built: Loss[Any] = self.builder.build(self.settings.regularizer)
        if dict(built.needs.per) != mine or not TEXTS & built.needs.records or built.needs.probes:
            raise RunError(
                f"regularizer {name!r} learns from {' or '.join(sorted(built.needs.records))} and is divided by "
                f"{dict(built.needs.per)}; beside sft with reduction {self.settings.reduction} it must learn from "
                f"{' or '.join(sorted(TEXTS))} and be divided by {mine}: give it the same reduction"
            )
        return built

    @property
    def needs(self) -> Needs:
        """Those of the likelihood and of the regularizer."""
        own = token_needs(self.settings.reduction)
        if self._regularizer is None:
            return own
        other = self._regularizer.needs
        return replace(
            own,
            records=own.records & other.records,
            scores=own.scores | other.scores,
            columns=other.columns,
            masks=other.masks,
            statistics=other.statistics,
        )

    def statistics(self, batch: PackedBatch, scores: TokenScores) -> Mapping[str, Tensor]:
        """Those of the regularizer."""
        assert self._regularizer is not None
        return self._regularizer.statistics(batch, scores)

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """−log p of the targets, reduced as `reduction` says, and λ·R."""
        assert scores.logprobs is not None
        total = reduce_tokens(batch, -scores.logprobs, self.settings.reduction)
        nll = -scores.logprobs.detach()[batch.targets].sum()
        targets = batch.targets.sum()
        metrics = {"nll_per_token": Ratio(nll, targets)}
        if self.settings.reduction == "sum":
            metrics[TARGETS_PER_UNIT] = Ratio(targets, batch.count(UNITS["sum"]))
        if self._regularizer is not None:
            other = self._regularizer(batch, scores)
            penalty = other.terms["policy"]
            metrics |= {**other.metrics, "regularizer": Ratio(penalty.detach(), batch.count(self.needs.per["policy"]))}
            total = total + self.settings.regularizer_weight * penalty
        return LossOutput({"policy": total}, metrics)
