"""PPO: clipped policy and value losses per response token (F37; Schulman et al. 2017, eq. 7; Tülu 3, section 6)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.learning.rl import values_before
from aftertrain.core.loss import LossOutput, Needs, Ratio, Score
from aftertrain.plugins.losses.policy import PolicyLoss, clipped
from aftertrain.plugins.losses.policy_settings import PPOSettings


class PPO(PolicyLoss[PPOSettings]):
    """Terms `policy` and `value`, each a sum over response tokens i.

    With ρ = exp(logπ − old_logprobs): policy = Σ max(−A·ρ, −A·clip(ρ, 1 ± clip)) and, with V the value before token i,
    value = ½·value_coefficient·Σ max((V − R)², (old_values + clip(V − old_values, ± value_clip) − R)²).

    The columns `old_logprobs`, `advantages`, `returns` and `old_values` all stand at the token they belong to: the old
    value at i is that of the state before token i.
    """

    Config = PPOSettings

    @property
    def needs(self) -> Needs:
        """Log-probabilities and values; entropy only when it is used."""
        needs = super().needs
        scores: set[Score] = {"logprobs", "values"}
        if self._wants_entropy:
            scores.add("entropy")
        return replace(
            needs,
            scores=frozenset(scores),
            columns=needs.columns | {"returns", "old_values"},
            per={"policy": "token", "value": "token"},
        )

    @property
    def _wants_entropy(self) -> bool:
        return self.settings.show_entropy or self.settings.entropy_coefficient > 0

    def objective(self, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor | None]:
        """The clipped surrogate."""
        return clipped(ratio, advantages, self.settings.clip, self.settings.clip)

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """Both terms, summed over response tokens; metrics are averages over them."""
        assert scores.values is not None
        output, chosen, settings = super().__call__(batch, scores), batch.targets, self.settings
        count, policy, metrics = chosen.sum(), output.terms["policy"], dict(output.metrics)

        value, old_value = values_before(scores.values)[chosen], batch.columns["old_values"][chosen]
        returns = batch.columns["returns"][chosen]
        error = (value - returns).square()
        worst = error
        if settings.value_clip is not None:
            near = old_value + (value - old_value).clamp(-settings.value_clip, settings.value_clip)
            worst = torch.maximum(error, (near - returns).square())
        value_loss = 0.5 * settings.value_coefficient * worst.sum()
        metrics["value_error"] = Ratio(error.detach().sum(), count)
        metrics["value_clip_fraction"] = Ratio((worst > error).sum(), count)

        if self._wants_entropy:
            assert scores.entropy is not None
            entropy = scores.entropy[chosen].sum()
            policy = policy - settings.entropy_coefficient * entropy
            metrics["entropy"] = Ratio(entropy.detach(), count)
        return LossOutput({"policy": policy, "value": value_loss}, metrics)
