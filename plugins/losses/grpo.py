"""GRPO: the clipped policy loss with the advantages of a group (DeepSeekMath, arXiv 2402.03300, eq. 3; Tülu 3.1).

The stage makes the advantages from the rewards of a prompt's replies and adds the KL penalty (F28).
"""

from __future__ import annotations

import torch

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.loss import Loss, LossOutput, Needs, Ratio
from aftertrain.plugins.losses.settings import GRPOSettings


class GRPO(Loss[GRPOSettings]):
    """With ρ = exp(logπ − old_logprobs), the term `policy` is Σ max(−A·ρ, −A·clip(ρ, 1 − clip, 1 + clip_high)).

    The sum runs over response tokens; for `sequence_mean` each is first divided by the tokens of its reply. The columns
    `old_logprobs` and `advantages` stand at the token they belong to.
    """

    Config = GRPOSettings

    @property
    def needs(self) -> Needs:
        """Log-probabilities alone: there is no critic."""
        return Needs(
            records=frozenset({"Problem"}),
            columns=frozenset({"old_logprobs", "advantages"}),
            per={"policy": "token" if self.settings.reduction == "token_mean" else "segment"},
        )

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """The clipped objective, summed over response tokens; metrics are averages over them."""
        assert scores.logprobs is not None
        settings = self.settings
        chosen = batch.targets
        high = settings.clip if settings.clip_high is None else settings.clip_high

        log_ratio = torch.where(chosen, scores.logprobs - batch.columns["old_logprobs"], 0.0)
        ratio, advantages = log_ratio.exp(), batch.columns["advantages"]
        plain = -advantages * ratio
        clipped = -advantages * ratio.clamp(1 - settings.clip, 1 + high)
        worst = torch.maximum(plain, clipped)
        by_token = settings.reduction == "token_mean"
        policy = worst[chosen].sum() if by_token else batch.segment_mean(worst, chosen).sum()

        count = chosen.sum()
        metrics = {
            "ratio": Ratio(ratio.detach()[chosen].sum(), count),
            "clip_fraction": Ratio((clipped > plain)[chosen].sum(), count),
            "approx_kl": Ratio((torch.expm1(log_ratio) - log_ratio).detach()[chosen].sum(), count),
        }
        return LossOutput({"policy": policy}, metrics)
