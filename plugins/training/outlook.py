"""What a training stage would do, in figures, from the data and the tokenizer alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aftertrain.core.batch_plan import BatchPlan
from aftertrain.core.dataset import Dataset
from aftertrain.core.errors import Unreachable
from aftertrain.core.loss import Loss
from aftertrain.core.packing import group_by_budget
from aftertrain.core.stage import PlanContext, PlanItem
from aftertrain.core.tokens import load_tokenizer
from aftertrain.plugins.training.feed import batch_plan, total_steps
from aftertrain.plugins.training.reference import COLUMN
from aftertrain.plugins.training.samples import Samples, prepare
from aftertrain.plugins.training.settings import TrainSettings

SAMPLE = 10_000
"""Rows that `plan` tokenises; more are sampled evenly."""


def outlook(settings: TrainSettings, context: PlanContext, loss: Loss[Any], data: Dataset[Any]) -> list[PlanItem]:
    """Rows, tokens, steps and micro-batches; what is dropped or cut.

    Raises:
        DataError: a row cannot be used.
        ModelError: the tokenizer cannot be used.
    """
    try:
        n_rows = len(data)
    except Unreachable as error:
        return [PlanItem("rows", str(error), "warning")]
    stride = -(-n_rows // SAMPLE)
    samples = prepare(
        load_tokenizer(context.model, context.chat_template), islice(data, 0, None, stride), settings.batch, loss.needs
    )
    seen = len(range(0, n_rows, stride))
    kept = n_rows if seen == 0 else round(n_rows * len(samples.atoms) / seen)
    about = "" if stride == 1 else "about "
    rows = {"PreferencePair": "pairs", "Feedback": "replies"}.get(data.record_type.__name__, "conversations")
    noun = "replies" if rows == "pairs" and loss.needs.atom == "segment" else rows
    plan = batch_plan(settings, kept, context.seed, context.name)
    total = total_steps(settings, plan)
    scale = kept / len(samples.atoms)
    per_step = min(settings.batch.sequences, kept)
    items = [
        PlanItem("rows", f"{n_rows:,} {rows} from {settings.data.name}" + _sampled(stride, seen)),
        *_left_out(samples, seen),
        PlanItem(
            "tokens",
            f"{about}{scale * samples.n_tokens:,.0f} an epoch, {scale * samples.n_targets:,.0f} of them targets",
        ),
        PlanItem(
            "1 step",
            f"{per_step} {noun} ≈ {per_step * samples.n_tokens / len(samples.atoms):,.0f} tokens in "
            f"{_micro_batches(samples, settings, per_step)} of at most {samples.micro_tokens(settings.batch):,} tokens",
        ),
        PlanItem("1 epoch", f"{about}{plan.steps_per_epoch:,} steps"),
        PlanItem("all", f"{about}{total:,} steps, {settings.epochs} × the data" + _capped(settings, plan)),
        PlanItem("learning rate", _rates(settings, total)),
    ]
    if COLUMN in loss.needs.columns:
        items.append(PlanItem("reference", "its log-probs are computed once, before training; one model at a time"))
    return items


def _micro_batches(samples: Samples, settings: TrainSettings, per_step: int) -> str:
    sizes = [sum(len(segment.token_ids) for segment in atom) for atom in islice(samples.atoms, per_step)]
    n = len(group_by_budget(sizes, samples.micro_tokens(settings.batch)))
    return "1 micro-batch" if n == 1 else f"about {n} micro-batches"


def _left_out(samples: Samples, seen: int) -> Iterator[PlanItem]:
    for reason, ids in samples.dropped.items():
        yield PlanItem("left out", f"{len(ids):,} of {seen:,}: {reason} (such as {ids[0]})", "warning")
    if samples.truncated:
        ids = samples.truncated
        yield PlanItem("cut", f"{len(ids):,} of {seen:,} at batch.max_tokens (such as {ids[0]})", "warning")


def _sampled(stride: int, seen: int) -> str:
    return "" if stride == 1 else f"; {seen:,} of them, evenly taken, were tokenised for these figures"


def _capped(settings: TrainSettings, plan: BatchPlan) -> str:
    cut = settings.max_steps is not None and settings.max_steps < plan.n_steps
    return f", cut short by max_steps (of {plan.n_steps:,})" if cut else ""


def _rates(settings: TrainSettings, total: int) -> str:
    optimizer = settings.optimizer
    rates = [optimizer.rate(step, total) for step in range(total)]
    peak = max(range(total), key=rates.__getitem__)
    return f"{rates[0]:.3g} at step 1, {rates[peak]:.3g} at step {peak + 1}, {rates[-1]:.3g} at step {total}"
