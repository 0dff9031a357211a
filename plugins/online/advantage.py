"""From judged rollouts to packed batches that carry every column a loss may ask for.

Micro-batches are packed once a step, per minibatch, and used both for scoring and for all updates: the first ratio of a
token is then exactly 1, whatever the dtype.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch
from aftertrain.core.engine import Engine
from aftertrain.core.errors import NumericsError
from aftertrain.core.learning.rl import gae, group_advantages, kl_estimate, token_rewards, values_before, whiten
from aftertrain.core.loss import Atom
from aftertrain.core.packed.packing import pack
from aftertrain.plugins.online.models import Models
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.settings import OnlineSettings


@dataclass(frozen=True)
class Experience:
    """One step's rollouts, ready to learn from.

    Attributes:
        minibatches: micro-batches of each optimizer step, with the columns of `models.SUPPLIED`.
        metrics: figures over the whole step.
    """

    minibatches: Sequence[Sequence[PackedBatch]]
    metrics: dict[str, float]


def pack_minibatches(judged: Sequence[Judged], n: int, micro_tokens: int, atom: Atom) -> list[list[PackedBatch]]:
    """Split the step's problems into `n` minibatches of like size, in order, and pack each.

    The replies to one problem stay in one minibatch, and share a micro-batch if the loss wants groups whole.
    """
    groups: dict[int, list[Judged]] = {}
    for reply in judged:
        groups.setdefault(reply.rollout.group, []).append(reply)
    atoms = [[reply.rollout.segment() for reply in group] for group in groups.values()]
    n = min(n, len(atoms))
    bounds = [len(atoms) * k // n for k in range(n + 1)]
    parts = [atoms[start:stop] for start, stop in pairwise(bounds)]
    if atom != "group":
        parts = [[[segment] for group in part for segment in group] for part in parts]
    return [pack(part, micro_tokens) for part in parts]


def make_experience(
    judged: Sequence[Judged], models: Models, settings: OnlineSettings, *, atom: Atom, step: int
) -> Experience:
    """Score the rollouts with policy, reference and critic, spread rewards over tokens, estimate advantages.

    Args:
        step: counted from 1, for messages.

    Raises:
        NumericsError: a score is not finite; names the step and the samples.
    """
    minibatches = pack_minibatches(judged, settings.batch.minibatches, settings.batch.micro_tokens, atom)
    batches = [_scored(batch, models, settings.sampling.temperature) for part in minibatches for batch in part]
    for batch in batches:
        _check_finite(batch, step)
    rewards = {reply.rollout.id: reply.reward for reply in judged}
    if settings.advantages == "group":
        advantages = group_advantages([*rewards.values()], [reply.rollout.group for reply in judged])
        by_reply = dict(zip(rewards, advantages, strict=True))
        batches = [_with_group_advantages(batch, by_reply) for batch in batches]
    else:
        batches = [_with_advantages(batch, rewards, settings) for batch in batches]
    columns = {name: torch.cat([batch.columns[name] for batch in batches]) for name in batches[0].columns}
    mask = torch.cat([batch.targets for batch in batches])
    metrics = _metrics({name: column[mask] for name, column in columns.items()}, len(judged))
    if settings.advantages == "gae":
        whitened, metrics["advantage_mean"], metrics["advantage_std"] = whiten(
            columns["advantages"], mask, reduce=models.policy.ranks.sum
        )
        if settings.whiten:
            parts = torch.split(whitened, [batch.n_tokens for batch in batches])
            batches = [batch.with_columns(advantages=part) for batch, part in zip(batches, parts, strict=True)]
    in_order = iter(batches)
    return Experience([[next(in_order) for _ in part] for part in minibatches], metrics)


def _scored(batch: PackedBatch, models: Models, temperature: float) -> PackedBatch:
    def logprobs(engine: Engine[Any]) -> Tensor:
        scored = engine.score(batch, ("logprobs",), temperature=temperature, grad=False).logprobs
        assert scored is not None
        return scored.detach().cpu()

    columns = {"old_logprobs": logprobs(models.policy)}
    if models.reference is not None:
        columns["reference_logprobs"] = logprobs(models.reference)
    if models.critic is not None:
        values = models.critic.score(batch, ("values",), grad=False).values
        assert values is not None
        columns["values"] = values.detach().cpu()
    return batch.with_columns(**columns)


def _with_advantages(batch: PackedBatch, rewards: dict[str, float], settings: OnlineSettings) -> PackedBatch:
    """Add `advantages` (raw), `returns` and `old_values` (V before the token)."""
    mask, values, old = batch.targets, batch.columns["values"], batch.columns["old_logprobs"]
    scores = torch.tensor([rewards[name] for name in batch.sample_ids])
    # Without a reference, which nothing asked for, the penalty is 0.
    kl = kl_estimate(old, batch.columns.get("reference_logprobs", old), settings.kl.estimator)
    beta = settings.kl.beta if settings.kl.place == "reward" else 0.0
    earned = token_rewards(kl, scores, mask, batch.segment_ids, beta)
    advantages, returns = gae(earned, values, mask, batch.lengths, gamma=settings.gamma, lam=settings.gae_lambda)
    return batch.with_columns(advantages=advantages, returns=returns, old_values=values_before(values))


def _with_group_advantages(batch: PackedBatch, advantages: dict[str, float]) -> PackedBatch:
    """Add `advantages`, one number for all tokens of a reply. A KL penalty is the loss's: settings allow no other."""
    of_replies = torch.tensor([advantages[name] for name in batch.sample_ids])
    return batch.with_columns(advantages=of_replies[batch.segment_ids] * batch.targets)


def _metrics(columns: Mapping[str, Tensor], n_replies: int) -> dict[str, float]:
    """Figures over all response tokens of the step.

    `sampled_entropy` is the mean of −log π; `logprob_difference` how far the generator's log-probabilities are from the
    trainer's, in absolute value; `kl` is that to the reference, k1 summed over a reply and averaged over replies;
    `explained_variance` the share of the returns' variance that the critic knew, 1 − Var(R − V)/Var(R), absent where R
    does not vary.
    """
    old = columns["old_logprobs"]
    metrics = {
        "sampled_entropy": -float(old.double().mean()),
        "logprob_difference": float((old - columns["generator_logprobs"]).abs().double().mean()),
    }
    if "reference_logprobs" in columns:
        metrics["kl"] = float((old - columns["reference_logprobs"]).double().sum()) / n_replies
    if "returns" in columns:
        returns, error = columns["returns"].double(), (columns["returns"] - columns["old_values"]).double()
        variance = float(returns.var(correction=0))
        metrics["return_mean"] = float(returns.mean())
        if variance != 0:
            metrics["explained_variance"] = 1.0 - float(error.var(correction=0)) / variance
    return metrics


def _check_finite(batch: PackedBatch, step: int) -> None:
    for name in ("old_logprobs", "reference_logprobs", "values"):
        bad = ~torch.isfinite(batch.columns.get(name, torch.zeros(1)))
        if bad.any():
            samples = sorted({batch.sample_ids[i] for i in batch.segment_ids[bad].tolist()})[:8]
            raise NumericsError(f"step {step}: {name} are not finite; samples: {', '.join(samples)}")
