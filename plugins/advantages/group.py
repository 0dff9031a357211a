"""A reply against the others to its prompt: GRPO, and Dr. GRPO without the spread."""

from __future__ import annotations

from aftertrain.core.advantage import Advantage, Credit, Replies
from aftertrain.core.learning.rl import group_advantages
from aftertrain.plugins.advantages.settings import GroupMeanSettings, GroupSettings


class Group(Advantage[GroupSettings]):
    """A = (r − mean)/(σ + 1e-8) over the replies to one prompt, for every token of the reply (DeepSeekMath, eq. 3).

    σ is that of the group itself (divided by its size, not one less).
    """

    Config = GroupSettings

    def __call__(self, replies: Replies) -> Credit:
        """The column `advantages`."""
        return _credit(replies, scale=True)


class GroupMean(Advantage[GroupMeanSettings]):
    """A = r − mean over the replies to one prompt (Dr. GRPO, arXiv 2503.20783): easy and hard prompts weigh alike."""

    Config = GroupMeanSettings

    def __call__(self, replies: Replies) -> Credit:
        """The column `advantages`."""
        return _credit(replies, scale=False)


def _credit(replies: Replies, *, scale: bool) -> Credit:
    advantages = group_advantages(replies.rewards.tolist(), replies.groups.tolist(), scale=scale)
    return Credit({"advantages": replies.per_token(replies.rewards.new_tensor(advantages))})
