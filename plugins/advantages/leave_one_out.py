"""REINFORCE with a leave-one-out baseline (RLOO; Ahmadian et al. 2024, arXiv 2402.14740, eq. 8)."""

from __future__ import annotations

from aftertrain.core.advantage import Advantage, Credit, Replies
from aftertrain.plugins.advantages.settings import RLOOSettings


class RLOO(Advantage[RLOOSettings]):
    """A_i = r_i − 1/(k−1)·Σ_{j≠i} r_j over the k replies to one prompt; r holds a KL penalty in the reward.

    A reply that is alone in its group has nothing to be compared with, and an advantage of 0.
    """

    Config = RLOOSettings

    def __call__(self, replies: Replies) -> Credit:
        """The column `advantages`, one number for all tokens of a reply."""
        rewards, others = replies.totals, replies.group_sizes - 1
        baseline = (replies.group_sum(rewards) - rewards) / others.clamp(min=1)
        return Credit({"advantages": replies.per_token((rewards - baseline) * (others > 0))})
