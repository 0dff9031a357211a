"""Online algorithms as a plain loop in transformers and torch: one reply after the other, no packing, no framework.

It is given the replies that a stage made and their rewards, and learns from them as the papers say. Nothing here is
imported from aftertrain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, pstdev, stdev
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass
class Reply:
    """One reply of a step, what is known of its tokens, and what they are credited with; each list one a token."""

    prompt: Sequence[int]
    tokens: Sequence[int]
    reward: float
    group: int
    old: Tensor = field(default_factory=lambda: torch.zeros(0))
    reference: Tensor = field(default_factory=lambda: torch.zeros(0))
    values: list[float] = field(default_factory=list)
    earned: list[float] = field(default_factory=list)
    advantages: list[float] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        return sum(self.earned)

    def all(self, advantage: float) -> None:
        self.advantages = [advantage] * len(self.tokens)


Replies = Sequence[Reply]


def groups(replies: Replies) -> list[list[Reply]]:
    return [[reply for reply in replies if reply.group == group] for group in sorted({r.group for r in replies})]


# Advantages.


def gae(gamma: float, lam: float, *, whiten: bool) -> Callable[[Replies], None]:
    def estimate(replies: Replies) -> None:
        for reply in replies:
            following, reply.advantages = 0.0, []
            for t in reversed(range(len(reply.tokens))):
                after = reply.values[t + 1] if t + 1 < len(reply.tokens) else 0.0
                following = reply.earned[t] + gamma * after - reply.values[t] + gamma * lam * following
                reply.advantages.insert(0, following)
            reply.returns = [a + v for a, v in zip(reply.advantages, reply.values, strict=True)]
        if whiten:
            _whiten(replies)

    return estimate


def one_step(gamma: float, *, baseline: bool) -> Callable[[Replies], None]:
    def estimate(replies: Replies) -> None:
        for reply in replies:
            after = [*reply.values[1:], 0.0]
            reply.returns = [r + gamma * v for r, v in zip(reply.earned, after, strict=True)]
            reply.advantages = [
                target - (v if baseline else 0.0) for target, v in zip(reply.returns, reply.values, strict=True)
            ]

    return estimate


def group(*, scale: bool) -> Callable[[Replies], None]:
    def estimate(replies: Replies) -> None:
        for members in groups(replies):
            rewards = [reply.reward for reply in members]
            for reply in members:
                reply.all((reply.reward - fmean(rewards)) / (pstdev(rewards) + 1e-8 if scale else 1.0))

    return estimate


def leave_one_out(replies: Replies) -> None:
    for members in groups(replies):
        for reply in members:
            reply.all(reply.total - fmean(other.total for other in members if other is not reply))


def to_go(replies: Replies) -> None:
    for reply in replies:
        reply.advantages = [sum(reply.earned[t:]) for t in range(len(reply.tokens))]
    _whiten(replies)


def group_then_step(replies: Replies) -> None:
    for members in groups(replies):
        for reply in members:
            reply.all(reply.total - fmean(other.total for other in members))
    _whiten(replies)


def best_of_two(replies: Replies) -> None:
    """Pass@2 of groups: each pair that a reply is in, by what it adds to the other."""
    for members in groups(replies):
        n = len(members)
        for reply in members:
            added = sum(max(0.0, reply.reward - other.reward) for other in members if other is not reply)
            reply.all(added / (n * (n - 1) / 2) * n)


def _whiten(replies: Replies) -> None:
    every = [a for reply in replies for a in reply.advantages]
    mean, variance = fmean(every), stdev(every) ** 2
    for reply in replies:
        reply.advantages = [(a - mean) / (variance + 1e-8) ** 0.5 for a in reply.advantages]


# Losses: a number for each token of a reply.

Loss = Callable[[Tensor, Reply], Tensor]


def clipped(low: float, high: float) -> Loss:
    def loss(logp: Tensor, reply: Reply) -> Tensor:
        ratio, a = torch.exp(logp - reply.old), torch.tensor(reply.advantages)
        return -torch.minimum(ratio * a, torch.clamp(ratio, 1 - low, 1 + high) * a)

    return loss


def of_sequence(low: float, high: float) -> Loss:
    def loss(logp: Tensor, reply: Reply) -> Tensor:
        ratio, a = torch.exp((logp - reply.old).mean()), fmean(reply.advantages)
        return -torch.minimum(ratio * a, torch.clamp(ratio, 1 - low, 1 + high) * a).expand(len(logp))

    return loss


def of_sequence_by_token(low: float, high: float) -> Loss:
    def loss(logp: Tensor, reply: Reply) -> Tensor:
        ratio = torch.exp((logp - reply.old).mean()).detach() * logp.exp() / logp.exp().detach()
        a = torch.tensor(reply.advantages)
        return -torch.minimum(ratio * a, torch.clamp(ratio, 1 - low, 1 + high) * a)

    return loss


def weighted(bound: float) -> Loss:
    def loss(logp: Tensor, reply: Reply) -> Tensor:
        with torch.no_grad():
            weight = torch.exp(logp - reply.old).clamp(max=bound)
        return -weight * torch.tensor(reply.advantages) * logp

    return loss


def plain(logp: Tensor, reply: Reply) -> Tensor:
    return -torch.tensor(reply.advantages) * logp


def leash(estimator: str, beta: float, *, score_function: bool) -> Loss:
    """The penalty in the loss."""

    def loss(logp: Tensor, reply: Reply) -> Tensor:
        d = logp - reply.reference
        estimate = {"k1": d, "k2": d**2 / 2, "k3": torch.exp(-d) - 1 + d}[estimator]
        return beta * estimate * (torch.exp(logp - reply.old) if score_function else 1.0)

    return loss


@dataclass(frozen=True)
class Algorithm:
    """What a paper says.

    Attributes:
        credit: fills the advantages; None for pairs.
        loss: of each token.
        over: what it is averaged over: all tokens, replies of each one's mean, or of each one's sum by a constant.
        in_loss: the KL penalty beside it.
        in_reward: β of k1 in each token's reward.
        value_clip: of the critic's loss; 0 where it is not clipped.
        pair: f(h) of two replies' rewards log π/π_ref, summed or their means.
    """

    credit: Callable[[Replies], None] | None = None
    loss: Loss | None = None
    over: Literal["token", "mean", "sum"] = "token"
    length: float = 1.0
    in_loss: Loss | None = None
    in_reward: float = 0.0
    critic: float | None = None
    value_clip: float = 0.0
    pair: Callable[[Tensor], Tensor] | None = None
    pair_means: bool = False


def sigmoid(beta: float) -> Callable[[Tensor], Tensor]:
    return lambda h: -logsigmoid(beta * h)


# The loop.


class Trainer:
    """Policy, its start, and a critic, in float32, each with AdamW as torch has it."""

    def __init__(self, algorithm: Algorithm, policy: Any, reference: Any, critic: Any, temperature: float) -> None:
        self.algorithm, self.policy, self.reference, self.critic = algorithm, policy, reference, critic
        self.temperature = temperature
        self.models = [policy, *([critic] if critic is not None else [])]

    def optimise(self, *, lr: float, eps: float, weight_decay: float, max_grad_norm: float) -> None:
        self.max_grad_norm = max_grad_norm
        self.optimizers = []
        for model in self.models:
            decayed = [p for p in model.parameters() if p.ndim > 1]
            others = [p for p in model.parameters() if p.ndim <= 1]
            parts = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
            self.optimizers.append(torch.optim.AdamW(parts, lr=lr, eps=eps))

    def step(self, replies: Replies, updates: int, minibatches: int) -> None:
        """One step of an online stage."""
        algorithm = self.algorithm
        with torch.no_grad():
            for reply in replies:
                reply.old = self.logprobs(self.policy, reply)
                reply.reference = self.logprobs(self.reference, reply)
                reply.values = self.values(reply).tolist() if self.critic is not None else []
                reply.earned = (-algorithm.in_reward * (reply.old - reply.reference)).tolist()
                reply.earned[-1] += reply.reward
        if algorithm.credit is not None:
            algorithm.credit(replies)
        units: list[Any] = groups(replies) if algorithm.pair is None else self.pairs(replies)
        n = min(minibatches, len(units))
        bounds = [len(units) * k // n for k in range(n + 1)] if n else []
        for _ in range(updates):
            for start, stop in pairwise(bounds):
                part = units[start:stop]
                if algorithm.pair is not None:
                    losses = [self.pair_loss(part)]
                else:
                    losses = self.losses([reply for members in part for reply in members])
                for model, optimizer, loss in zip(self.models, self.optimizers, losses, strict=True):
                    optimizer.zero_grad()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(model.parameters(), self.max_grad_norm)
                    optimizer.step()

    def losses(self, replies: Replies) -> list[Tensor]:
        algorithm = self.algorithm
        assert algorithm.loss is not None
        tokens = sum(len(reply.tokens) for reply in replies)
        policy = torch.zeros(())
        for reply in replies:
            logp = self.logprobs(self.policy, reply)
            each = algorithm.loss(logp, reply)
            if algorithm.in_loss is not None:
                each = each + algorithm.in_loss(logp, reply)
            share = {"token": 1 / tokens, "mean": 1 / len(each) / len(replies), "sum": 1 / len(replies)}[algorithm.over]
            policy = policy + each.sum() * share / algorithm.length
        if algorithm.critic is None:
            return [policy]
        value = torch.zeros(())
        for reply in replies:
            v, target, old = self.values(reply), torch.tensor(reply.returns), torch.tensor(reply.values)
            error = (v - target) ** 2
            if algorithm.value_clip:
                bounded = torch.clamp(v, old - algorithm.value_clip, old + algorithm.value_clip)
                error = torch.maximum(error, (bounded - target) ** 2)
            value = value + 0.5 * algorithm.critic * error.sum() / tokens
        return [policy, value]

    def pairs(self, replies: Replies) -> list[tuple[Reply, Reply]]:
        """The best and the worst reply to each prompt, where they differ."""
        found = []
        for members in groups(replies):
            best, worst = (choose(members, key=lambda reply: reply.reward) for choose in (max, min))
            if best.reward > worst.reward:
                found.append((best, worst))
        return found

    def pair_loss(self, pairs: Sequence[tuple[Reply, Reply]]) -> Tensor:
        assert self.algorithm.pair is not None

        def reward(reply: Reply) -> Tensor:
            apart = self.logprobs(self.policy, reply) - reply.reference
            return apart.mean() if self.algorithm.pair_means else apart.sum()

        return torch.stack([self.algorithm.pair(reward(best) - reward(worst)) for best, worst in pairs]).mean()

    def logprobs(self, model: Any, reply: Reply) -> Tensor:
        """Of each token of the reply, under the sampling temperature."""
        ids = torch.tensor([[*reply.prompt, *reply.tokens]])
        scores = (model(ids).logits[0, :-1].float() / self.temperature).log_softmax(-1)
        return scores.gather(1, ids[0, 1:, None]).squeeze(1)[len(reply.prompt) - 1 :]

    def values(self, reply: Reply) -> Tensor:
        """The scalar head at the token before each of the reply's."""
        ids = torch.tensor([[*reply.prompt, *reply.tokens]])
        heads = self.critic.score(self.critic.model(ids).last_hidden_state)[0, :, 0]
        return heads[len(reply.prompt) - 1 : -1].float()
