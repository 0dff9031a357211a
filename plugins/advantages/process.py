"""Rewards of steps: process supervision (DeepSeekMath, arXiv 2402.03300, section 4.1.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from aftertrain.core.advantage import Advantage, Credit, Replies
from aftertrain.core.learning.rl import gae
from aftertrain.plugins.advantages.settings import ProcessSettings

TINY = 1e-8


class Process(Advantage[ProcessSettings]):
    """A_t = Σ over the steps that end at t or later of r̃, with r̃ = (r − mean)/(σ + 1e-8).

    Mean and σ are of the rewards of all steps of all replies to the prompt. A step is a turn, the tokens between two
    outputs of a tool, whose reward is the sum of its tokens'; or each token. With one turn this is `group`.
    """

    Config = ProcessSettings

    def __call__(self, replies: Replies) -> Credit:
        """The column `advantages`."""
        mask, owners = replies.mask, replies.owners
        ends = mask.clone()
        if self.settings.step == "turn":
            follows = torch.cat([mask[1:] & (owners[1:] == owners[:-1]), mask.new_zeros(1)])
            ends &= ~follows
        # A step's number at each of its tokens: how many steps have ended before.
        step = ends.cumsum(0) - ends.long()
        at_end = ends.nonzero().squeeze(1)
        rewards = replies.rewards.new_zeros(len(at_end))
        rewards = rewards.index_add(0, step[mask], replies.token_rewards[mask].to(rewards.dtype))
        scaled = torch.zeros_like(replies.token_rewards)
        scaled[at_end] = _normalised(rewards, replies.groups[owners[at_end]]).float()
        to_go, _ = gae(scaled, torch.zeros_like(scaled), mask, replies.sizes, gamma=1.0, lam=1.0)
        return Credit({"advantages": to_go})


def _normalised(rewards: Tensor, groups: Tensor) -> Tensor:
    """Each reward of a step `[steps]` by the mean and spread of its group's."""
    size = int(groups.max()) + 1 if len(groups) else 0

    def of_group(values: Tensor) -> Tensor:
        return values.new_zeros(size).index_add(0, groups, values)[groups]

    count = of_group(torch.ones_like(rewards))
    apart = rewards - of_group(rewards) / count
    return apart / ((of_group(apart.square()) / count).sqrt() + TINY)
