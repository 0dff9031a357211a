"""Pairs of replies for online DPO and its kin (OAIF; Guo et al. 2024, arXiv 2402.04792; F25)."""

from __future__ import annotations

from collections.abc import Sequence

from aftertrain.core.advantage import Advantage, Credit, Replies
from aftertrain.plugins.advantages.settings import PairsSettings


class Pairs(Advantage[PairsSettings]):
    """The reply to a prompt that earned most, chosen, against the one that earned least; of equals the first.

    With rewards of a judge this is online AI feedback. A prompt whose replies all earned the same gives no pair.
    """

    Config = PairsSettings

    def pairs(self, rewards: Sequence[float]) -> Sequence[tuple[int, int]]:
        """One pair, or none."""
        best, worst = rewards.index(max(rewards)), rewards.index(min(rewards))
        return [] if rewards[best] == rewards[worst] else [(best, worst)]

    def __call__(self, replies: Replies) -> Credit:
        """No column: the loss compares log-probabilities."""
        return Credit({})
