"""REINFORCE++ (Hu et al. 2025, arXiv 2501.03262): no critic, one baseline for the whole step."""

from __future__ import annotations

from aftertrain.core.advantage import Advantage, Credit, Replies
from aftertrain.core.learning.rl import gae, whiten
from aftertrain.plugins.advantages.settings import ReinforcePlusPlusBaselineSettings, ReinforcePlusPlusSettings


class ReinforcePlusPlus(Advantage[ReinforcePlusPlusSettings]):
    """A_t = (G_t − mean)/σ over all tokens of the step, G_t = Σ_{k≥t} γ^{k−t}·r_k the rewards to go (eq. 4–5).

    r_k holds −β·KL of token k where the penalty is in the reward, and the reply's reward at its last token.
    """

    Config = ReinforcePlusPlusSettings

    def __call__(self, replies: Replies) -> Credit:
        """The column `advantages`."""
        earned = replies.token_rewards
        to_go, _ = gae(
            earned, earned.new_zeros(len(earned)), replies.mask, replies.sizes, gamma=self.settings.gamma, lam=1.0
        )
        scaled, mean, std = whiten(to_go, replies.mask, reduce=replies.sum)
        return Credit({"advantages": scaled}, {"advantage_mean": mean, "advantage_std": std})


class ReinforcePlusPlusBaseline(Advantage[ReinforcePlusPlusBaselineSettings]):
    """A = (r − mean of its group), then scaled to mean 0 and variance 1 over all tokens of the step (eq. 7–8)."""

    Config = ReinforcePlusPlusBaselineSettings

    def __call__(self, replies: Replies) -> Credit:
        """The column `advantages`."""
        apart = replies.per_token(replies.totals - replies.group_mean(replies.totals))
        scaled, mean, std = whiten(apart, replies.mask, reduce=replies.sum)
        return Credit({"advantages": scaled}, {"advantage_mean": mean, "advantage_std": std})
