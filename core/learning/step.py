"""One optimizer step, shared by every training stage: count, score, backward, step, and metrics added exactly.

Units are counted over all micro-batches and ranks *before* the first backward and the engine alone divides, so that
1x8 = 8x1 micro-batches and one rank = two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.batch import PROBE, PackedBatch, TokenScores, Unit
from aftertrain.core.engine import Engine, StepReport
from aftertrain.core.errors import BrokenWeights, NumericsError
from aftertrain.core.loss import Loss, LossOutput, Needs, Ratio, Score
from aftertrain.core.ranks import ALONE, Ranks

Engines = Mapping[str, Engine[Any]]
"""The models of a step, keyed like a loss's terms: `policy` has an lm head, `value` a scalar head."""


class Accumulator:
    """Adds metrics as (sum, count) over micro-batches, then over ranks, and divides once."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, float] = {}

    def add(self, metrics: Mapping[str, Ratio]) -> None:
        """Add one micro-batch's metrics."""
        for name, ratio in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + _number(ratio.sum)
            self._counts[name] = self._counts.get(name, 0.0) + _number(ratio.count)

    def result(self, ranks: Ranks = ALONE) -> dict[str, float]:
        """Each metric's sum divided by its count, over all ranks; those that counted nothing are absent."""
        flat = {f"sum/{k}": v for k, v in self._sums.items()} | {f"count/{k}": v for k, v in self._counts.items()}
        flat = ranks.sum(flat, "metrics")
        return {name: flat[f"sum/{name}"] / flat[f"count/{name}"] for name in self._sums if flat[f"count/{name}"] != 0}


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one optimizer step did.

    Attributes:
        losses: each term's loss (its global numerator divided by its global count).
        reports: gradient norm and learning rate of each term's engine.
        metrics: the loss's metrics, divided over all micro-batches and ranks.
        tokens: tokens scored, prompts included, over all ranks; filler (weight 0) is none.
    """

    losses: Mapping[str, float]
    reports: Mapping[str, StepReport]
    metrics: Mapping[str, float] = field(default_factory=dict)
    tokens: int = 0


def count_units(batches: Iterable[PackedBatch], per: Mapping[str, Unit], ranks: Ranks) -> dict[str, float]:
    """For each term the number of its units (tokens, segments, pairs of non-zero weight) over all ranks."""
    batches = list(batches)
    return ranks.sum({term: sum(batch.count(unit) for batch in batches) for term, unit in per.items()}, "units")


def score_batch(
    engines: Engines, batch: PackedBatch, wants: Iterable[Score], *, temperature: float = 1.0, grad: bool = True
) -> TokenScores:
    """Scores of one micro-batch: `values` from the engine of the term `value`, all others from `policy`'s."""
    wanted = set(wants)
    scores = TokenScores()
    if of_policy := wanted - {"values"}:
        scores = engines["policy"].score(batch, of_policy, temperature=temperature, grad=grad)
    if "values" in wanted:
        scores = scores.merge(engines["value"].score(batch, ("values",), grad=grad))
    return scores


def train_step(
    engines: Engines,
    loss: Loss[Any],
    batches: Sequence[PackedBatch],
    learning_rates: Mapping[str, float],
    *,
    step: int,
    progress: float,
    temperature: float = 1.0,
) -> StepResult:
    """One optimizer step of every engine on the micro-batches of one global batch.

    Args:
        engines: one per term of `loss.needs.per`.
        batches: this rank's micro-batches, with the columns that the loss needs.
        learning_rates: by term.
        step: counted from 1, for messages.
        progress: share of the stage's steps that are done with this one (`Pace.progress`), for losses with a schedule.
        temperature: logits are divided by it.

    Raises:
        NumericsError: a term or gradient is not finite (names step and samples), or there is nothing to divide by;
            the weights of that engine are left as they were.
        BrokenWeights: the update itself has left weights that are not finite.
    """
    needs = loss.needs
    ranks = _ranks(engines)
    batches, counts = _ready(engines, loss, batches, temperature, progress, f"step {step}: the batch holds")
    sums = dict.fromkeys(needs.per, 0.0)
    faults: list[str] = []
    metrics = Accumulator()
    for packed in batches:
        scores = score_batch(engines, packed, needs.scores, temperature=temperature)
        batch = packed.to(scores.device)
        refused = ""
        try:
            output = loss(batch, scores)
        except NumericsError as error:
            refused, output = str(error), LossOutput(_not_numbers(scores, needs.per))
        for term, numerator in output.terms.items():
            value = float(numerator.detach())
            if not math.isfinite(value):
                faults.append(refused or f"loss {term!r} is {value}; samples: {_culprits(batch, scores)}")
                # The gradient of every rank must fail, not only that of the rank which holds the sample.
                numerator = numerator * math.nan  # noqa: PLW2901
            engines[term].backward(numerator, counts[term])
            sums[term] += value
        metrics.add(output.metrics)
    reports = {}
    for term, engine in engines.items():
        try:
            reports[term] = engine.step(learning_rates[term])
        except BrokenWeights as error:
            raise BrokenWeights(f"step {step}: {error}") from error
        except NumericsError as error:
            names = [name for batch in batches for name in batch.sample_ids]
            # An engine refuses on every rank or on none, so that all ranks meet here.
            every = ranks.gather((faults, names), "what is not finite")
            reasons = "; ".join(dict.fromkeys(line for lines, _ in every for line in lines))
            reasons = reasons or f"{error}; samples: {listed([name for _, theirs in every for name in theirs], 8)}"
            raise NumericsError(f"step {step}: {reasons}") from error
    for term, engine in engines.items():
        if broken := engine.not_finite():
            raise BrokenWeights(
                f"step {step}: the update (learning rate {learning_rates[term]:g}) left weights of {term!r} that are "
                f"NaN or infinite: {listed(broken, 8)}; the last checkpoint is intact. Lower optimizer.lr, or raise "
                "optimizer.eps if it is very small"
            )
    totals = ranks.sum({**sums, "tokens": float(sum(batch.n_counted for batch in batches))})
    return StepResult(
        losses={term: totals[term] / counts[term] for term in needs.per},
        reports=reports,
        metrics=metrics.result(ranks),
        tokens=int(totals["tokens"]),
    )


def measure(
    engines: Engines,
    loss: Loss[Any],
    batches: Sequence[PackedBatch],
    *,
    progress: float,
    temperature: float = 1.0,
) -> tuple[dict[str, float], dict[str, float]]:
    """Each term's loss, and the metrics, over all of these micro-batches and ranks; nothing is learnt from them.

    Raises:
        NumericsError: a term has nothing to divide by, or the loss refuses what it is given.
    """
    needs = loss.needs
    ranks = _ranks(engines)
    batches, counts = _ready(engines, loss, batches, temperature, progress, "these rows hold")
    sums = dict.fromkeys(needs.per, 0.0)
    faults: list[str] = []
    metrics = Accumulator()
    for packed in batches:
        scores = score_batch(engines, packed, needs.scores, temperature=temperature, grad=False)
        try:
            with torch.no_grad():
                output = loss(packed.to(scores.device), scores)
        except NumericsError as error:
            faults.append(str(error))
            continue
        for term, numerator in output.terms.items():
            sums[term] += float(numerator)
        metrics.add(output.metrics)
    reasons = dict.fromkeys(line for lines in ranks.gather(faults, "what is not finite") for line in lines)
    if reasons:
        raise NumericsError("; ".join(reasons))
    totals = ranks.sum(sums)
    return {term: totals[term] / counts[term] for term in needs.per}, metrics.result(ranks)


def _ranks(engines: Engines) -> Ranks:
    """Those that share the step; a stage loads all its engines with the same."""
    return next(iter(engines.values())).ranks


def _ready(  # noqa: PLR0917  what a step has
    engines: Engines,
    loss: Loss[Any],
    batches: Sequence[PackedBatch],
    temperature: float,
    progress: float,
    holder: str,
) -> tuple[Sequence[PackedBatch], dict[str, float]]:
    """The micro-batches as the loss wants them, and for each term how many units there are over all ranks.

    Args:
        holder: begins the message where there are none.
    """
    needs = loss.needs
    batches = [replace(batch.with_masks(needs.masks), progress=progress) for batch in batches]
    batches, seen = split_probes(batches, needs)
    counts = count_units(batches, needs.per, _ranks(engines))
    for term, count in counts.items():
        if count <= 0:
            raise NumericsError(f"{holder} no {needs.per[term]} to learn from (term {term!r})")
    if needs.statistics:
        statistics = _statistics(engines, loss, seen, temperature)
        batches = [batch.with_statistics(statistics) for batch in batches]
    return batches, counts


def split_probes(batches: Sequence[PackedBatch], needs: Needs) -> tuple[Sequence[PackedBatch], Sequence[PackedBatch]]:
    """What the loss sees of each micro-batch, and what its statistics see: the probes, or the same if it has none."""
    if needs.probes is None:
        return batches, batches
    marks = [batch.segments["role"] == PROBE for batch in batches]
    pairs = list(zip(batches, marks, strict=True))
    return [batch.select(~mark) for batch, mark in pairs], [batch.select(mark) for batch, mark in pairs]


def _statistics(
    engines: Engines, loss: Loss[Any], batches: Sequence[PackedBatch], temperature: float
) -> dict[str, Tensor]:
    """The loss's statistics of the whole step, over all ranks; a forward without gradient."""
    sums: dict[str, Tensor] = {}
    for batch in batches:
        scores = score_batch(engines, batch, loss.needs.scores, temperature=temperature, grad=False)
        for name, value in loss.statistics(batch.to(scores.device), scores).items():
            sums[name] = sums[name] + value if name in sums else value
    flat = {f"{name}/{i}": float(x) for name, value in sums.items() for i, x in enumerate(value.flatten())}
    flat = _ranks(engines).sum(flat)
    return {
        name: value.new_tensor([flat[f"{name}/{i}"] for i in range(value.numel())]).view(value.shape)
        for name, value in sums.items()
    }


def _not_numbers(scores: TokenScores, terms: Iterable[str]) -> dict[str, Tensor]:
    """NaN for each term, with a gradient: what a loss refuses on one rank must fail on all, at the engine's step."""
    filled = scores.filled()
    values = filled.pop("values", None)
    others = [score for score in filled.values() if score.requires_grad]
    sources = {term: [values] if term == "value" and values is not None else others for term in terms}
    return {term: torch.stack([score.sum() for score in used]).sum() * math.nan for term, used in sources.items()}


def _number(value: Tensor | float) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def _culprits(batch: PackedBatch, scores: TokenScores) -> str:
    """Samples whose scores are not finite, or all of the micro-batch where the scores are fine."""
    bad = torch.zeros(batch.n_segments, dtype=torch.bool, device=scores.device)
    for score in scores.filled().values():
        bad |= batch.segment_sum((~torch.isfinite(score)).float(), torch.ones_like(batch.loss_mask)) > 0
    marked = [name for name, is_bad in zip(batch.sample_ids, bad.tolist(), strict=True) if is_bad]
    return listed(marked or batch.sample_ids, 8)


def listed(names: Sequence[str], limit: int = 5) -> str:
    """The first names, and how many more, for messages."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
