"""Reinforcement-learning arithmetic on packed tokens: KL estimates, token rewards, GAE, whitening.

Vectors are float32 `[N]`, aligned with a `PackedBatch`'s `token_ids`; `mask` (bool `[N]`) marks the response tokens,
the actions. What belongs to action i stands at i: its log-probability, reward, advantage, return, and V of the state
*before* it, which is `values[i-1]` of `TokenScores` (see `values_before`). Where `mask` is false results are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]
Reduce = Callable[[Mapping[str, float]], Mapping[str, float]]
"""Sums each entry over all ranks (`Ranks.sum`)."""


def kl_estimate(logprobs: Tensor, reference: Tensor, estimator: KLEstimator) -> Tensor:
    """Per-token estimate of KL(π‖π_ref) from a sampled token's log-probabilities (F28; Schulman, "Approximating KL").

    With d = log π − log π_ref: k1 = d (unbiased, may be negative), k2 = d²/2 (biased, low variance),
    k3 = e^(−d) − 1 + d (unbiased, never negative).

    >>> d = torch.tensor([0.5])
    >>> [round(kl_estimate(d, torch.zeros(1), k).item(), 4) for k in ("k1", "k2", "k3")]
    [0.5, 0.125, 0.1065]
    """
    d = logprobs - reference
    if estimator == "k1":
        return d
    if estimator == "k2":
        return 0.5 * d.square()
    return torch.expm1(-d) + d


def values_before(values: Tensor) -> Tensor:
    """V before each token: `values` `[N]` (the head *at* each token) moved on by one.

    The first entry of each segment is meaningless (its left neighbour is another segment's); it never is an action.

    >>> values_before(torch.tensor([1.0, 2.0, 3.0])).tolist()
    [0.0, 1.0, 2.0]
    """
    return torch.cat([values.new_zeros(1), values[:-1]])


def token_rewards(kl: Tensor, scores: Tensor, mask: Tensor, segment_ids: Tensor, beta: float) -> Tensor:
    """Reward of each action: −β·KL at every one, and the reply's score at its last (F28, F34: delayed reward).

    Args:
        kl: `[N]`, see `kl_estimate`.
        scores: `[S]`, reward of each segment's reply.
        segment_ids: int64 `[N]`.
        beta: weight of the KL penalty; 0 leaves it out.

    One segment of a prompt token and two actions, β = ½, score 10:

    >>> mask = torch.tensor([False, True, True])
    >>> token_rewards(torch.tensor([9.0, 1.0, 4.0]), torch.tensor([10.0]), mask, torch.zeros(3).long(), 0.5).tolist()
    [0.0, -0.5, 8.0]
    """
    rewards = torch.where(mask, -beta * kl, torch.zeros_like(kl))
    actions = torch.nonzero(mask).squeeze(1)
    owner = segment_ids[actions]
    last = torch.cat([owner[1:] != owner[:-1], owner.new_ones(min(1, len(owner)), dtype=torch.bool)])
    return rewards.index_add(0, actions[last], scores.to(rewards.dtype)[owner[last]])


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, lengths: Sequence[int], *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation and returns (F37; Schulman et al. 2016, eq. 16).

    Over a segment's actions k = 0 … K−1, in order: δ_k = r_k + γ·V_{k+1} − V_k and A_k = δ_k + γλ·A_{k+1}, where V_k is
    the value before action k and V_K = A_K = 0 (nothing follows a reply, cut ones included). Tokens between two actions
    that are not actions themselves (a tool's output) are stepped over. Returns are A + V.

    Args:
        rewards: `[N]`, see `token_rewards`.
        values: `[N]`, the head *at* each token: V before token i is `values[i-1]`.
        lengths: tokens per segment.

    Returns:
        advantages and returns, `[N]`.

    A prompt token and two actions, V = (1, 2), rewards (0, 10), γ = 1, λ = 0.5: δ₁ = 10 − 2 = 8, δ₀ = 0 + 2 − 1 = 1,
    so A = (1 + 0.5·8, 8) and the returns are (5 + 1, 8 + 2):

    >>> mask = torch.tensor([False, True, True])
    >>> a, r = gae(torch.tensor([0.0, 0.0, 10.0]), torch.tensor([1.0, 2.0, 7.0]), mask, [3], gamma=1.0, lam=0.5)
    >>> a.tolist(), r.tolist()
    ([0.0, 5.0, 8.0], [0.0, 6.0, 10.0])
    """
    actions = torch.nonzero(mask).squeeze(1)
    sizes = torch.tensor(list(lengths), device=mask.device)
    owner = torch.repeat_interleave(torch.arange(len(sizes), device=mask.device), sizes)[actions]
    counts = torch.bincount(owner, minlength=len(sizes))
    rank = torch.arange(len(actions), device=mask.device) - (counts.cumsum(0) - counts)[owner]
    shape = (len(sizes), int(counts.max()) + 1 if len(sizes) else 1)

    def padded(flat: Tensor) -> Tensor:
        return flat.new_zeros(shape).index_put((owner, rank), flat[actions])

    reward, before = padded(rewards), padded(values_before(values))
    live = torch.arange(shape[1], device=mask.device) < counts.unsqueeze(1)
    advantage = torch.zeros_like(reward)
    for k in range(shape[1] - 2, -1, -1):
        delta = reward[:, k] + gamma * before[:, k + 1] - before[:, k]
        advantage[:, k] = torch.where(live[:, k], delta + gamma * lam * advantage[:, k + 1], 0.0)

    def packed(grid: Tensor) -> Tensor:
        return torch.zeros_like(rewards).index_put((actions,), grid[owner, rank])

    return packed(advantage), packed(advantage + before)


def group_advantages(rewards: Sequence[float], groups: Sequence[int], *, scale: bool = True) -> list[float]:
    """Each reward against the others to the same prompt: (r − mean)/(std + 1e-8) (GRPO, DeepSeekMath eq. 3).

    Args:
        groups: which prompt each reward belongs to.
        scale: False leaves the division out (Dr. GRPO), so that easy and hard prompts do not weigh more.

    >>> [round(a, 4) for a in group_advantages([10.0, 0.0, 5.0, 5.0], [0, 0, 1, 1])]
    [1.0, -1.0, 0.0, 0.0]
    """
    members: dict[int, list[float]] = {}
    for reward, group in zip(rewards, groups, strict=True):
        members.setdefault(group, []).append(reward)
    means = {group: sum(replies) / len(replies) for group, replies in members.items()}
    spreads = {
        group: (sum((r - means[group]) ** 2 for r in replies) / len(replies)) ** 0.5 + 1e-8 if scale else 1.0
        for group, replies in members.items()
    }
    return [(reward - means[group]) / spreads[group] for reward, group in zip(rewards, groups, strict=True)]


def whiten(
    values: Tensor, mask: Tensor, *, shift_mean: bool = True, reduce: Reduce = lambda sums: sums
) -> tuple[Tensor, float, float]:
    """Scale `values` to unit variance over the masked tokens, and to mean 0 if `shift_mean` (F37).

    The mean and the (unbiased) variance are of all masked tokens of the *step*: call it on the whole batch, and with
    several ranks hand in `Ranks.sum`, for whitening per micro-batch or per rank makes the result depend on them.

    Returns:
        the whitened values (0 off the mask), and the mean and standard deviation they had.

    >>> whitened, mean, std = whiten(torch.tensor([1.0, 3.0, 99.0]), torch.tensor([True, True, False]))
    >>> [round(v, 4) for v in whitened.tolist()], mean, round(std, 4)
    ([-0.7071, 0.7071, 0.0], 2.0, 1.4142)
    """
    actions = values[mask].double()
    sums = reduce({"count": float(len(actions)), "sum": float(actions.sum())})
    count = sums["count"]
    mean = sums["sum"] / max(count, 1.0)
    squares = reduce({"squares": float((actions - mean).square().sum())})["squares"]
    variance = squares / max(count - 1.0, 1.0)
    whitened = (values - mean) * (variance + 1e-8) ** -0.5
    return torch.where(mask, whitened if shift_mean else whitened + mean, 0.0), mean, variance**0.5
