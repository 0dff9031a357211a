"""What losses of preference pairs share: rewards of two replies, an objective of their difference, β, metrics."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.learning.schedule import adaptive_beta
from aftertrain.core.loss import Loss, LossOutput, Needs, Ratio
from aftertrain.plugins.losses.settings import PairSettings, ReferenceSettings

P = TypeVar("P", bound=PairSettings)
R = TypeVar("R", bound=ReferenceSettings)


def counted_pairs(batch: PackedBatch, values: Tensor) -> tuple[Tensor, Tensor]:
    """Per-segment `values` `[S]` as (chosen, rejected) of the pairs that count, each `[P]`."""
    counted, _ = batch.pairs(batch.counted)
    chosen, rejected = batch.pairs(values)
    return chosen[counted], rejected[counted]


def reward_metrics(chosen: Tensor, rejected: Tensor) -> dict[str, Ratio]:
    """Share of pairs ranked rightly, and means of the rewards and of their difference."""
    chosen, rejected, n = chosen.detach(), rejected.detach(), len(chosen)
    return {
        "accuracy": Ratio((chosen > rejected).sum(), n),
        "margin": Ratio((chosen - rejected).sum(), n),
        "reward_chosen": Ratio(chosen.sum(), n),
        "reward_rejected": Ratio(rejected.sum(), n),
    }


class PairLoss(Loss[P]):
    """Σ over pairs of f(h; β), h = r(y_w) − r(y_l): a subclass says what r and f are."""

    @abstractmethod
    def rewards(self, batch: PackedBatch, logprobs: Tensor) -> Tensor:
        """r `[S]` of each reply, not yet times β."""

    @abstractmethod
    def objective(self, h: Tensor, beta: float) -> Tensor:
        """f `[P]` of the differences `h` `[P]`."""

    def weights(self, batch: PackedBatch, scores: TokenScores) -> Tensor | None:
        """What each pair's loss is multiplied by, `[P]` without gradient; None for 1."""
        return None

    @property
    def needs(self) -> Needs:
        """Pairs and their log-probs; the step's loss, where β depends on it (F22)."""
        adapts = self.settings.target_loss is not None
        return Needs(records=frozenset({"PreferencePair"}), atom="pair", per={"policy": "pair"}, statistics=adapts)

    def statistics(self, batch: PackedBatch, scores: TokenScores) -> Mapping[str, Tensor]:
        """Sum and number of the pairs' losses under β₀·√(t/T): l_t of F22 is their quotient."""
        losses, _, _ = self._losses(batch, scores, adaptive_beta(self.settings.beta, batch.progress))
        return {"loss": torch.stack([losses.sum(), losses.new_tensor(float(len(losses)))]).detach()}

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """Σ f(h; β) over the pairs that count, under the step's β."""
        assert scores.logprobs is not None
        beta = self._beta(batch)
        losses, chosen, rejected = self._losses(batch, scores, beta)
        metrics = reward_metrics(beta * chosen, beta * rejected)
        logps_chosen, logps_rejected = counted_pairs(batch, batch.segment_sum(scores.logprobs.detach()))
        metrics["logps_chosen"] = Ratio(logps_chosen.sum(), len(losses))
        metrics["logps_rejected"] = Ratio(logps_rejected.sum(), len(losses))
        if self.settings.beta_schedule == "adaptive":
            metrics["beta"] = Ratio(beta * len(losses), len(losses))
        return LossOutput({"policy": losses.sum()}, metrics)

    def _losses(self, batch: PackedBatch, scores: TokenScores, beta: float) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, and rewards of chosen and rejected without β."""
        assert scores.logprobs is not None
        chosen, rejected = counted_pairs(batch, self.rewards(batch, scores.logprobs))
        losses, weights = self.objective(chosen - rejected, beta), self.weights(batch, scores)
        return losses if weights is None else weights * losses, chosen, rejected

    def _beta(self, batch: PackedBatch) -> float:
        settings = self.settings
        if settings.beta_schedule == "constant":
            return settings.beta
        if settings.target_loss is None:
            return adaptive_beta(settings.beta, batch.progress)
        total, count = batch.statistics["loss"]
        loss = float(total) / max(float(count), 1.0)
        return adaptive_beta(settings.beta, batch.progress, loss, settings.target_loss)


class ReferencePairLoss(PairLoss[R]):
    """r(y) = log π(y|x) − log π_ref(y|x): summed over the reply's tokens (F15), or with `normalize: length` their mean
    (F16).
    """

    @property
    def needs(self) -> Needs:
        """Pairs, their log-probs and the reference's."""
        return replace(super().needs, columns=frozenset({"reference_logprobs"}))

    def rewards(self, batch: PackedBatch, logprobs: Tensor) -> Tensor:
        """log π − log π_ref of each reply, summed over its tokens or their mean."""
        reply = batch.segment_mean if self.settings.normalize == "length" else batch.segment_sum
        return reply(logprobs - batch.columns["reference_logprobs"])
