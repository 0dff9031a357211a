"""What the policy's log-probabilities of its own replies tell: entropy, KL, and whether the generator agrees.

Which weights made a token is known from its version: the step whose update left them, 0 before the first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from aftertrain.core.batch import PackedBatch
from aftertrain.core.errors import NumericsError, RunError
from aftertrain.core.learning.rl import values_before
from aftertrain.plugins.online.policy_settings import ParitySettings


def policy_metrics(batches: Sequence[PackedBatch], newest: int) -> dict[str, float]:
    """Figures over all response tokens of the step, by the policy before the update.

    Args:
        newest: version of the weights that are trained.

    `sampled_entropy` is the mean of −log π; `logprob_difference` and `logprob_difference_max` how far the generator's
    log-probabilities are from the trainer's, in absolute value; `effective_samples` the share (Σw)²/(n·Σw²) of n tokens
    that the importance weights w = π/π_generator leave, 1 where the two agree; `staleness` by how many updates the
    weights that made a token are behind, on average; `kl` is that to the reference, k1 summed
    over a reply and averaged over replies; `explained_variance` the share of the returns' variance that the critic
    knew, 1 − Var(R − V)/Var(R), absent where R does not vary.
    """
    if not batches:
        return {}
    mask = torch.cat([batch.targets for batch in batches])
    columns = {
        name: torch.cat([batch.columns[name] for batch in batches])[mask].double() for name in batches[0].columns
    }
    old, apart = columns["old_logprobs"], columns["old_logprobs"] - columns["generator_logprobs"]
    weights = apart.exp()
    metrics = {
        "sampled_entropy": -float(old.mean()),
        "logprob_difference": float(apart.abs().mean()),
        "logprob_difference_max": float(apart.abs().max()),
        "effective_samples": float(weights.sum() ** 2 / (len(weights) * weights.square().sum())),
        "staleness": newest - float(columns["versions"].mean()),
    }
    if "reference_logprobs" in columns:
        metrics["kl"] = float((old - columns["reference_logprobs"]).sum()) / sum(b.n_segments for b in batches)
    if "returns" in columns and "values" in columns:
        known = torch.cat([values_before(batch.columns["values"]) for batch in batches])[mask].double()
        returns, error = columns["returns"], columns["returns"] - known
        variance = float(returns.var(correction=0))
        metrics["return_mean"] = float(returns.mean())
        if variance != 0:
            metrics["explained_variance"] = 1.0 - float(error.var(correction=0)) / variance
    return metrics


def check_parity(batches: Sequence[PackedBatch], settings: ParitySettings | None, generator: str, step: int) -> None:
    """Stop where what replied is not what is trained: other weights by their version, or other log-probabilities.

    Args:
        step: counted from 1; replies to it are made with the weights of the step before.

    Raises:
        RunError: tokens are older than is borne, or of weights that are not there yet.
        NumericsError: the generator's log-probabilities are too far from the trainer's, or are no numbers; names the
            step, the figures, and the reply that is farthest off.
    """
    if settings is None or not batches:
        return
    _check_versions(batches, settings, generator, step)
    metrics = policy_metrics(batches, step - 1)
    mean, most = metrics["logprob_difference"], metrics["logprob_difference_max"]
    bounds = [(mean, settings.mean, "on average", "mean")]
    bounds += [] if settings.most is None else [(most, settings.most, "at one token", "most")]
    for found, bound, words, name in bounds:
        if not found <= bound:  # not a number, too
            raise NumericsError(
                f"step {step}: the generator {generator!r} and the trainer disagree by {found:.3g} nats {words} about "
                f"replies that the generator has just made (parity.{name}: {bound:g}), most at {_worst(batches)}. What "
                "replies is not what is trained: weights that were not handed over, another dtype or temperature, "
                "another tokenizer. Nothing was saved of this step; correction: {rule: truncate} bears a difference of "
                "precision, parity: null only measures"
            )


def _check_versions(batches: Sequence[PackedBatch], settings: ParitySettings, generator: str, step: int) -> None:
    newest = step - 1
    for batch in batches:
        behind = torch.where(batch.targets, newest - batch.columns["versions"], 0.0)
        wrong = (behind < 0) | (behind > settings.staleness)
        if wrong.any():
            place = int(wrong.nonzero()[0])
            name, version = batch.sample_ids[int(batch.segment_ids[place])], int(batch.columns["versions"][place])
            why = "which are not there yet" if version > newest else f"(parity.staleness: {settings.staleness})"
            raise RunError(
                f"step {step}: the generator {generator!r} made {name!r} with weights of version {version}, and was "
                f"given version {newest} before {why}: it did not take them, or stamps tokens wrongly"
            )


def _worst(batches: Sequence[PackedBatch]) -> str:
    """The reply and token at which the two are farthest apart."""
    found = []
    for batch in batches:
        apart = (batch.columns["old_logprobs"] - batch.columns["generator_logprobs"]).abs() * batch.targets
        place = int(apart.argmax())
        segment = int(batch.segment_ids[place])
        start = sum(batch.lengths[:segment])
        found.append((float(apart[place]), batch.sample_ids[segment], place - start))
    _, name, token = max(found)
    return f"token {token} of {name!r}"
