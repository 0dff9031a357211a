"""The plain actor-critic (F37; Sutton and Barto, section 13.5): policy gradient and squared error, nothing clipped."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.learning.rl import values_before
from aftertrain.core.loss import LossOutput, Needs, Ratio
from aftertrain.plugins.losses.policy import PolicyLoss
from aftertrain.plugins.losses.policy_settings import ActorCriticSettings


class ActorCritic(PolicyLoss[ActorCriticSettings]):
    """Terms `policy`, −A·log π, and `value`, ½·value_coefficient·(V − R)², each averaged over response tokens.

    V is the value before the token, R the column `returns`. It is for one update a step, as REINFORCE is.
    """

    Config = ActorCriticSettings

    @property
    def needs(self) -> Needs:
        """Log-probabilities and values."""
        needs = super().needs
        return replace(
            needs,
            scores=needs.scores | {"values"},
            columns=needs.columns | {"returns"},
            per={"policy": "token", "value": "token"},
        )

    def objective(self, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor | None]:
        """The policy gradient."""
        return -advantages * logprobs, None

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """Both terms, summed over response tokens."""
        assert scores.values is not None
        output, targets = super().__call__(batch, scores), batch.targets
        error = (values_before(scores.values)[targets] - batch.columns["returns"][targets]).square()
        terms = {**output.terms, "value": 0.5 * self.settings.value_coefficient * error.sum()}
        return LossOutput(terms, {**output.metrics, "value_error": Ratio(error.detach().sum(), targets.sum())})
