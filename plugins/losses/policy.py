"""What losses of sampled replies share: the ratio to the policy that wrote them, its clip, reductions and metrics.

At a response token, ρ = π/π_old = exp(logprobs − old_logprobs) and A is the column `advantages`. In the first pass over
new replies ρ is 1 and every loss here has the gradient −A·∇log π of each token (GSPO: of a reply's mean).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores, Unit
from aftertrain.core.loss import Loss, LossOutput, Needs, Ratio
from aftertrain.core.settings import Settings
from aftertrain.plugins.losses.policy_settings import PolicyReduction

P = TypeVar("P", bound=Settings)

UNITS: dict[PolicyReduction, Unit] = {"token_mean": "token", "sequence_mean": "segment", "sum": "segment"}


def clipped(ratio: Tensor, advantages: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """max(−A·ρ, −A·clip(ρ, 1 − low, 1 + high)), and where the clip decides: such a token no longer pushes.

    >>> loss, cut = clipped(torch.tensor([1.5, 0.5]), torch.tensor([2.0, 2.0]), 0.2, 0.28)
    >>> [round(value, 4) for value in loss.tolist()], cut.tolist()
    ([-2.56, -1.0], [True, False])
    """
    plain = -advantages * ratio
    bounded = -advantages * ratio.clamp(1 - low, 1 + high)
    return torch.maximum(plain, bounded), bounded > plain


class PolicyLoss(Loss[P]):
    """The term `policy`: a number for each response token, which a subclass gives, reduced to a sum.

    The columns `old_logprobs` and `advantages` stand at the token they belong to.
    """

    @property
    def reduction(self) -> PolicyReduction:
        """How tokens are weighed: averaged over the step's, over replies of each one's mean, or of each one's sum."""
        return "token_mean"

    @abstractmethod
    def objective(self, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor | None]:
        """The loss of each token `[N]`, and where a clip holds it (bool `[N]`; None of a loss without one).

        Off the response tokens log-probabilities and advantages are 0 and ratios 1.
        """

    def log_ratio(self, batch: PackedBatch, log_ratio: Tensor) -> Tensor:
        """log ρ `[N]` that the objective gets, from that of each token."""
        return log_ratio

    def advantages(self, batch: PackedBatch, advantages: Tensor) -> Tensor:
        """A `[N]` that the objective gets, from that of each token."""
        return advantages

    @property
    def needs(self) -> Needs:
        """Log-probabilities alone: there is no critic."""
        return Needs(
            records=frozenset({"Problem"}),
            columns=frozenset({"old_logprobs", "advantages"}),
            per={"policy": UNITS[self.reduction]},
        )

    def token_sum(self, batch: PackedBatch, values: Tensor) -> Tensor:
        """Numerator of `values` `[N]`, by the reduction."""
        if self.reduction == "sequence_mean":
            return batch.segment_mean(values, batch.targets).sum()
        return values[batch.targets].sum()

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """The objective, reduced; metrics are averages over response tokens."""
        assert scores.logprobs is not None
        targets, count = batch.targets, batch.targets.sum()
        logprobs = torch.where(targets, scores.logprobs, 0.0)
        by_token = torch.where(targets, scores.logprobs - batch.columns["old_logprobs"], 0.0)
        advantages = self.advantages(batch, torch.where(targets, batch.columns["advantages"], 0.0))
        ratio = self.log_ratio(batch, by_token).exp()

        losses, cut = self.objective(logprobs, ratio, advantages)
        metrics = {
            "ratio": Ratio(ratio.detach()[targets].sum(), count),
            "approx_kl": Ratio((torch.expm1(by_token) - by_token).detach()[targets].sum(), count),
        }
        if cut is not None:
            metrics["clip_fraction"] = Ratio(cut[targets].sum(), count)
        return LossOutput({"policy": self.token_sum(batch, losses)}, metrics)
