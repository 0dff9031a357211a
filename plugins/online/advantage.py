"""From judged rollouts to packed batches that carry every column a loss may ask for.

Micro-batches are packed once a step, per minibatch, and used both for scoring and for all updates: the first ratio of a
token is then exactly 1, whatever the dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.settings import OnlineSettings

ALWAYS = frozenset({"advantages", "generator_logprobs", "old_logprobs", "reference_logprobs"})
SUPPLIED = {"gae": ALWAYS | {"old_values", "returns"}, "group": ALWAYS}
"""Token columns that this stage gives to a loss, by the setting `advantages`."""


@dataclass(frozen=True)
class Scorers:
    """The models that score rollouts.

    Attributes:
        critic: gives values; None where advantages come from groups.
        reference: the model the stage started from; None when nothing asks for it.
    """

    policy: Engine[Any]
    critic: Engine[Any] | None
    reference: Engine[Any] | None


@dataclass(frozen=True)
class Experience:
    """One step's rollouts, ready to learn from.

    Attributes:
        minibatches: micro-batches of each optimizer step, with the columns of `SUPPLIED`.
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
    judged: Sequence[Judged], scorers: Scorers, settings: OnlineSettings, *, atom: Atom, step: int
) -> Experience:
    """Score the rollouts with policy, reference and critic, spread rewards over tokens, estimate advantages.

    Args:
        step: counted from 1, for messages.

    Raises:
        NumericsError: a score is not finite; names the step and the samples.
    """
    minibatches = pack_minibatches(judged, settings.batch.minibatches, settings.batch.micro_tokens, atom)
    batches = [_scored(batch, scorers, settings.sampling.temperature) for part in minibatches for batch in part]
    for batch in batches:
        _check_finite(batch, step)
    metrics = _agreement(batches) | (_kl_metric(batches) if scorers.reference is not None else {})
    if settings.advantages == "group":
        ready = _with_group_advantages(batches, judged)
    else:
        rewards = {reply.rollout.id: reply.reward for reply in judged}
        ready = [_with_advantages(batch, rewards, settings) for batch in batches]
        ready, spread = _whitened(ready, scorers.policy, wanted=settings.whiten)
        metrics |= spread | _explained(ready)
    sizes = iter(ready)
    return Experience([[next(sizes) for _ in part] for part in minibatches], metrics)


def _scored(batch: PackedBatch, scorers: Scorers, temperature: float) -> PackedBatch:
    def logprobs(engine: Engine[Any]) -> Tensor:
        scored = engine.score(batch, ("logprobs",), temperature=temperature, grad=False).logprobs
        assert scored is not None
        return scored.detach().cpu()

    columns = {"old_logprobs": logprobs(scorers.policy)}
    if scorers.reference is not None:
        columns["reference_logprobs"] = logprobs(scorers.reference)
    if scorers.critic is not None:
        values = scorers.critic.score(batch, ("values",), grad=False).values
        assert values is not None
        columns["values"] = values.detach().cpu()
    return batch.with_columns(**columns)


def _with_advantages(batch: PackedBatch, rewards: dict[str, float], settings: OnlineSettings) -> PackedBatch:
    """Add `advantages` (raw), `returns` and `old_values` (V before the token)."""
    mask, values = batch.targets, batch.columns["values"]
    scores = torch.tensor([rewards[name] for name in batch.sample_ids])
    earned = token_rewards(_kl(batch, settings), scores, mask, batch.segment_ids, _beta(settings))
    advantages, returns = gae(earned, values, mask, batch.lengths, gamma=settings.gamma, lam=settings.gae_lambda)
    return batch.with_columns(advantages=advantages, returns=returns, old_values=values_before(values))


def _with_group_advantages(batches: Sequence[PackedBatch], judged: Sequence[Judged]) -> list[PackedBatch]:
    """Add `advantages`, one number for all tokens of a reply. A KL penalty is the loss's: settings allow no other."""
    advantages = group_advantages([reply.reward for reply in judged], [reply.rollout.group for reply in judged])
    by_id = {reply.rollout.id: advantage for reply, advantage in zip(judged, advantages, strict=True)}
    return [
        batch.with_columns(
            advantages=torch.tensor([by_id[name] for name in batch.sample_ids])[batch.segment_ids] * batch.targets
        )
        for batch in batches
    ]


def _kl(batch: PackedBatch, settings: OnlineSettings) -> Tensor:
    """Per-token KL estimate; zeros where no reference was asked for."""
    old = batch.columns["old_logprobs"]
    return kl_estimate(old, batch.columns.get("reference_logprobs", old), settings.kl.estimator)


def _beta(settings: OnlineSettings) -> float:
    return settings.kl.beta if settings.kl.place == "reward" else 0.0


def _whitened(
    batches: Sequence[PackedBatch], policy: Engine[Any], *, wanted: bool
) -> tuple[list[PackedBatch], dict[str, float]]:
    """Whiten the advantages over all response tokens of the step and all ranks; the returns stay as they are."""
    advantages, mask = _joined(batches, "advantages")
    whitened, mean, std = whiten(advantages, mask, reduce=policy.ranks.sum)
    parts = torch.split(whitened, [batch.n_tokens for batch in batches])
    metrics = {"advantage_mean": mean, "advantage_std": std}
    if not wanted:
        return list(batches), metrics
    return [batch.with_columns(advantages=part) for batch, part in zip(batches, parts, strict=True)], metrics


def _kl_metric(batches: Sequence[PackedBatch]) -> dict[str, float]:
    """KL to the reference: k1 summed over a reply, averaged over replies."""
    old, mask = _joined(batches, "old_logprobs")
    reference, _ = _joined(batches, "reference_logprobs")
    return {"kl": float((old - reference)[mask].double().sum()) / sum(batch.n_segments for batch in batches)}


def _agreement(batches: Sequence[PackedBatch]) -> dict[str, float]:
    """The policy's entropy as sampled, and how far the generator's log-probabilities are from the trainer's.

    Both are means over response tokens: of −log π, and of the absolute difference.
    """
    old, mask = _joined(batches, "old_logprobs")
    generator, _ = _joined(batches, "generator_logprobs")
    return {
        "sampled_entropy": -float(old[mask].double().mean()),
        "logprob_difference": float((old - generator)[mask].abs().double().mean()),
    }


def _explained(batches: Sequence[PackedBatch]) -> dict[str, float]:
    """Share of the returns' variance that the critic knew: 1 − Var(R − V)/Var(R); absent where R does not vary."""
    returns, mask = _joined(batches, "returns")
    before, _ = _joined(batches, "old_values")
    wanted, error = returns[mask].double(), (returns - before)[mask].double()
    spread = float(wanted.var(correction=0))
    metrics = {"return_mean": float(wanted.mean())}
    return metrics if spread == 0 else {**metrics, "explained_variance": 1.0 - float(error.var(correction=0)) / spread}


def _joined(batches: Sequence[PackedBatch], column: str) -> tuple[Tensor, Tensor]:
    return (
        torch.cat([batch.columns[column] for batch in batches]),
        torch.cat([batch.targets for batch in batches]),
    )


def _check_finite(batch: PackedBatch, step: int) -> None:
    for name in ("old_logprobs", "reference_logprobs", "values"):
        bad = ~torch.isfinite(batch.columns.get(name, torch.zeros(1)))
        if bad.any():
            samples = sorted({batch.sample_ids[i] for i in batch.segment_ids[bad].tolist()})[:8]
            raise NumericsError(f"step {step}: {name} are not finite; samples: {', '.join(samples)}")
