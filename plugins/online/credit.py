"""One step's micro-batches as an advantage estimator sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from aftertrain.core.advantage import Replies, Sum
from aftertrain.core.batch import PackedBatch
from aftertrain.core.learning.rl import kl_estimate, token_rewards
from aftertrain.plugins.online.policy_settings import KLSettings
from aftertrain.plugins.online.reward import Judged


def replies_of(batches: Sequence[PackedBatch], judged: Mapping[str, Judged], kl: KLSettings, sum_: Sum) -> Replies:
    """All micro-batches of a step, laid end to end.

    Args:
        judged: by sample id.
    """
    columns = {name: torch.cat([batch.columns[name] for batch in batches]) for name in batches[0].columns}
    names = [name for batch in batches for name in batch.sample_ids]
    found = [judged[name] for name in names]
    sizes = tuple(length for batch in batches for length in batch.lengths)
    owners = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    mask = torch.cat([batch.targets for batch in batches])
    last = torch.tensor([reply.reward for reply in found])
    old = columns.get("old_logprobs")
    penalty, beta = torch.zeros(len(mask)), 0.0
    if kl.place == "reward" and kl.beta > 0:
        assert old is not None
        penalty, beta = kl_estimate(old, columns["reference_logprobs"], kl.estimator), kl.beta
    earned = token_rewards(penalty, last, mask, owners, beta)
    if "turn_rewards" in columns:
        earned = earned + columns["turn_rewards"]
    groups = [reply.rollout.group for reply in found]
    order = {group: place for place, group in enumerate(sorted(set(groups)))}
    return Replies(
        rewards=torch.tensor([reply.total for reply in found], dtype=torch.float64),
        parts=_parts(found),
        groups=torch.tensor([order[group] for group in groups]),
        lengths=torch.tensor([reply.rollout.sampled for reply in found]),
        cut=torch.tensor([not reply.rollout.ended for reply in found]),
        owners=owners,
        mask=mask,
        sizes=sizes,
        token_rewards=earned,
        generator_logprobs=columns["generator_logprobs"],
        versions=columns["versions"].long(),
        old_logprobs=old,
        reference_logprobs=columns.get("reference_logprobs"),
        values=columns.get("values"),
        sum=sum_,
    )


def _parts(judged: Sequence[Judged]) -> dict[str, Tensor]:
    """What each part of the rewards gave, by name; NaN where a reply has none."""
    parts: dict[str, list[float]] = {}
    for place, reply in enumerate(judged):
        for name, value in reply.parts.items():
            parts.setdefault(name, [float("nan")] * len(judged))[place] = value
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in sorted(parts.items())}
