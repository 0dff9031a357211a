"""Credit for what a reply adds to the best of k (Walder and Karkhanis 2025, "Pass@K policy optimization")."""

from __future__ import annotations

from math import comb

from aftertrain.core.advantage import Advantage, Credit, Replies
from aftertrain.plugins.advantages.settings import PassAtKSettings


class PassAtK(Advantage[PassAtKSettings]):
    """A_i = n/C(n, k) · Σ over sets I of k replies with i of (max over I − max over I without i): leave-one-out.

    arXiv 2505.15201, the estimator with the baseline of k − 1.

    With −A·log π summed over a reply and averaged over the n replies to a prompt, this is an unbiased gradient of the
    expected best of k rewards: of pass@k where rewards are 0 and 1. A reply that is never the best of its set gets 0,
    so that k − 1 replies may try what seldom works. The method of "Pass@k training" (Chen et al. 2025, arXiv
    2508.10751) has the same sets, with an advantage that is divided by its spread.

    Of replies in rising order of reward, i the p-th, a set gains by it where all others are among the p − 1 before; the
    q-th is their best in C(q − 1, k − 2) sets: A = n/C(n, k) · Σ_{q<p} C(q − 1, k − 2)·(r_p − r_q).
    """

    Config = PassAtKSettings

    def __call__(self, replies: Replies) -> Credit:
        """The column `advantages`, one number for all tokens of a reply."""
        advantages = replies.rewards.new_zeros(len(replies.rewards))
        for group in sorted(set(replies.groups.tolist())):
            places = (replies.groups == group).nonzero().squeeze(1)
            advantages[places] = advantages.new_tensor(gains(replies.rewards[places].tolist(), self.settings.k))
        return Credit({"advantages": replies.per_token(advantages)})


def gains(rewards: list[float], k: int) -> list[float]:
    """What each of `rewards` adds to the best of k, on average over the sets of k that it is in, times k.

    Of fewer than k the best of all counts, and one alone adds nothing. Of (0, 0, 1) and k = 2 the third is in two of
    the three sets, and adds 1 to both: 3/3 · 2.

    >>> gains([0.0, 0.0, 1.0], 2)
    [0.0, 0.0, 2.0]
    """
    n = len(rewards)
    k = min(k, n)
    order = sorted(range(n), key=rewards.__getitem__)
    found = [0.0] * n
    for p, place in enumerate(order):
        lower = ((comb(q, k - 2), rewards[order[q]]) for q in range(p))
        found[place] = n / comb(n, k) * sum(sets * (rewards[place] - reward) for sets, reward in lower)
    return found
