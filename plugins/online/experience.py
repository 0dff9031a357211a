"""From judged rollouts to packed batches that carry every column a loss may ask for.

Micro-batches are packed once a step, per minibatch, and used both for scoring and for all updates: the first ratio of a
token is then exactly 1, whatever the dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.advantage import Advantage, sound
from aftertrain.core.batch import CHOSEN, REJECTED, PackedBatch
from aftertrain.core.engine import Engine
from aftertrain.core.errors import NumericsError, PluginError
from aftertrain.core.loss import Atom
from aftertrain.core.packed.packing import Segment, pack
from aftertrain.plugins.online.correction import corrected
from aftertrain.plugins.online.credit import replies_of
from aftertrain.plugins.online.models import Models
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.settings import OnlineSettings

Pairs = Callable[[Sequence[float]], Sequence[tuple[int, int]]]
"""Of a group's rewards, which replies are compared (`Advantage.pairs`)."""


@dataclass(frozen=True)
class Experience:
    """One step's rollouts, ready to learn from.

    Attributes:
        minibatches: micro-batches of each optimizer step; none where nothing can be learnt.
        metrics: figures of the advantage estimator and the correction, over the whole step.
        left_out: ids of the replies that a method of pairs put into no pair, that judging left out, or that are none.
    """

    minibatches: Sequence[Sequence[PackedBatch]]
    metrics: dict[str, float]
    left_out: frozenset[str] = frozenset()

    @property
    def batches(self) -> list[PackedBatch]:
        """All micro-batches, in order."""
        return [batch for part in self.minibatches for batch in part]


def pack_minibatches(
    judged: Sequence[Judged],
    n: int,
    micro_tokens: int,
    atom: Atom,
    pairs: Pairs | None = None,
    *,
    shared: bool = False,
) -> list[list[PackedBatch]]:
    """Split the step's problems into `n` minibatches of like size, in order, and pack each.

    The replies to one problem stay in one minibatch, and share a micro-batch if the loss wants groups whole.

    Args:
        pairs: chooses the pairs of a group where the method learns from pairs; replies in none are left out, and so
            are problems without a pair.
        shared: the models compute what replies begin with once, so that it counts once (see `pack`).
    """
    atoms = [_atoms(group, atom, pairs) for group in _groups(judged)]
    atoms = [found for found in atoms if found]
    n = min(n, len(atoms))
    bounds = [len(atoms) * k // n for k in range(n + 1)] if n else []
    parts = [atoms[start:stop] for start, stop in pairwise(bounds)]
    return [pack([one for group in part for one in group], micro_tokens, shared=shared) for part in parts]


def needs_old_logprobs(settings: OnlineSettings) -> bool:
    """Whether the policy must score the replies before the update: where its first pass over them is not the only one,
    or something is computed from the log-probabilities beforehand."""
    in_reward = settings.kl.beta > 0 and settings.kl.place == "reward"
    return settings.optimizer_steps > 1 or in_reward or settings.method.logprobs or settings.correction is not None


def make_experience(
    judged: Sequence[Judged],
    models: Models,
    settings: OnlineSettings,
    estimator: Advantage[Any],
    *,
    atom: Atom,
    step: int,
    weights: Mapping[str, float] | None = None,
) -> Experience:
    """Score the rollouts with what is needed of policy, reference and critic, spread rewards over tokens, give credit.

    Args:
        step: counted from 1, for messages.
        weights: of replies' advantages, by id (F36); None weighs all alike.

    Raises:
        NumericsError: a score or an advantage is not finite; names the step and the samples.
        PluginError: the estimator gives what is no credit, or chooses what are no pairs.
    """
    pairs = estimator.pairs if settings.method.pairs else None
    # An episode that could not be begun has no reply; of others nobody could say what they are worth.
    silent = frozenset(reply.rollout.id for reply in judged if reply.left_out or reply.rollout.sampled == 0)
    judged = [reply for reply in judged if reply.rollout.id not in silent]
    batch = settings.batch
    minibatches = pack_minibatches(
        judged, batch.minibatches, batch.micro_tokens, atom, pairs, shared=models.policy.shares_prefixes
    )
    before = needs_old_logprobs(settings)
    batches = [
        _scored(batch, models, settings.sampling.temperature, before=before) for part in minibatches for batch in part
    ]
    check_finite(batches, ("old_logprobs", "reference_logprobs", "values"), step)
    left_out = silent if pairs is None else silent | _unpaired(judged, pairs)
    if not batches:
        return Experience([], {}, left_out)
    replies = replies_of(batches, {reply.rollout.id: reply for reply in judged}, settings.kl, models.policy.ranks.sum)
    try:
        credit = sound(estimator(replies), settings.method.columns, replies)
    except (TypeError, ValueError) as error:
        raise PluginError(f"advantages: {settings.advantages.name}: step {step}: {error}") from error
    metrics = dict(credit.metrics)
    columns = {**credit.columns, "rewards": replies.token_rewards}
    if settings.correction is not None:
        columns, shares = corrected(columns, replies, settings.correction)
        metrics |= shares
    if weights is not None:
        of_replies = torch.tensor([weights[name] for batch in batches for name in batch.sample_ids])
        columns["advantages"] = columns["advantages"] * of_replies[replies.owners]
    parts = {
        name: torch.split(column.float(), [batch.n_tokens for batch in batches]) for name, column in columns.items()
    }
    batches = [
        batch.with_columns(**{name: part[number] for name, part in parts.items()})
        for number, batch in enumerate(batches)
    ]
    check_finite(batches, credit.columns, step)
    in_order = iter(batches)
    return Experience([[next(in_order) for _ in part] for part in minibatches], metrics, left_out)


def check_finite(batches: Sequence[PackedBatch], names: Sequence[str] | Mapping[str, Any], step: int) -> None:
    """Raise NumericsError where a column has NaN or infinity; names the step and the samples."""
    for batch in batches:
        for name in names:
            bad = ~torch.isfinite(batch.columns.get(name, torch.zeros(1)))
            if bad.any():
                samples = sorted({batch.sample_ids[i] for i in batch.segment_ids[bad].tolist()})[:8]
                raise NumericsError(f"step {step}: {name} are not finite; samples: {', '.join(samples)}")


def _groups(judged: Sequence[Judged]) -> list[list[Judged]]:
    """The replies to each problem, in order."""
    groups: dict[int, list[Judged]] = {}
    for reply in judged:
        groups.setdefault(reply.rollout.group, []).append(reply)
    return list(groups.values())


def _unpaired(judged: Sequence[Judged], pairs: Pairs) -> frozenset[str]:
    """Ids of replies that are in no pair."""
    left = set[str]()
    for group in _groups(judged):
        used = {place for pair in pairs([reply.total for reply in group]) for place in pair}
        left |= {reply.rollout.id for place, reply in enumerate(group) if place not in used}
    return frozenset(left)


def _atoms(group: Sequence[Judged], atom: Atom, pairs: Pairs | None) -> list[list[Segment]]:
    """What of one problem's replies must share a micro-batch."""
    segments = [reply.rollout.segment() for reply in group]
    if pairs is None:
        return [segments] if atom == "group" else [[segment] for segment in segments]
    rewards = [reply.total for reply in group]
    chosen = pairs(rewards)
    used = [place for pair in chosen for place in pair]
    if len(set(used)) != len(used) or not set(used) <= set(range(len(group))):
        raise PluginError(
            f"a method of pairs chose {list(chosen)} of {len(group)} replies: each is one of these, in at most one pair"
        )

    def placed(place: int, role: int, margin: float) -> Segment:
        return replace(segments[place], role=role, label=float(role == CHOSEN), margin=margin)

    found = []
    for better, worse in chosen:
        margin = rewards[better] - rewards[worse]
        found.append([placed(better, CHOSEN, margin), placed(worse, REJECTED, margin)])
    return found


def _scored(batch: PackedBatch, models: Models, temperature: float, *, before: bool) -> PackedBatch:
    def logprobs(engine: Engine[Any]) -> Tensor:
        scored = engine.score(batch, ("logprobs",), temperature=temperature, grad=False).logprobs
        assert scored is not None
        return scored.detach().cpu()

    columns = {"old_logprobs": logprobs(models.policy)} if before else {}
    if models.reference is not None:
        columns["reference_logprobs"] = logprobs(models.reference)
    if models.critic is not None:
        values = models.critic.score(batch, ("values",), grad=False).values
        assert values is not None
        columns["values"] = values.detach().cpu()
    return batch.with_columns(**columns)
