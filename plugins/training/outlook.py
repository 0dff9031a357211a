"""What a training stage would do, in figures, from the data and the tokenizer alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.dataset import Dataset
from aftertrain.core.engine import Engine, Head
from aftertrain.core.errors import ModelError, Unreachable
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.learning.batch_plan import BatchPlan
from aftertrain.core.learning.rates import rates_told
from aftertrain.core.loss import Loss
from aftertrain.core.packed.packing import group_by_budget
from aftertrain.core.records import PlanItem
from aftertrain.core.run.size import count_parameters, gibibytes
from aftertrain.core.stage import PlanContext
from aftertrain.plugins.training.feed import Streamed, batch_plan, total_steps
from aftertrain.plugins.training.fit import check_fit
from aftertrain.plugins.training.glance import SAMPLE, Glance, glance
from aftertrain.plugins.training.lengths import lengths_told
from aftertrain.plugins.training.reference import COLUMN
from aftertrain.plugins.training.rows import Rules, tokenizer_for
from aftertrain.plugins.training.samples import ENOUGH, Samples, Where, named, refuse_unusable, select
from aftertrain.plugins.training.settings import TrainSettings
from aftertrain.plugins.training.store import Store
from aftertrain.plugins.training.tokenising import tokenised

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS = {"PreferencePair": "pairs", "Feedback": "replies", "Document": "texts"}


def outlook(settings: TrainSettings, context: PlanContext, loss: Loss[Any], data: Dataset[Any]) -> list[PlanItem]:
    """Rows, tokens, steps and micro-batches; what is dropped or cut.

    Raises:
        DataError: a row cannot be used.
        ModelError: the tokenizer cannot be used, or does not fit the model.
    """
    rows = ROWS.get(data.record_type.__name__, "conversations")
    singly = rows == "pairs" and loss.needs.atom == "segment"
    noun = "replies" if singly or settings.batch.learn == "each" else rows
    tokenizer = tokenizer_for(data, context.model, context.chat_template)
    if settings.stream is not None:
        return _streamed(settings, context, loss, data, tokenizer, noun)
    try:
        seen_rows = _glance(context, data)
    except Unreachable as error:
        return [PlanItem("rows", str(error), "warning")]
    n_rows, stride = seen_rows.n_rows, seen_rows.stride
    # Bad rows outside the sample are told here, so that none is passed over; the others with what is tokenised.
    if stride > 1 or len(seen_rows.faults) >= ENOUGH:
        refuse_unusable(list(seen_rows.faults), n_rows, settings.batch, data.where)
    store = _tokenised(context, loss, settings, data, tokenizer, seen_rows)
    samples = select(store, settings.batch, loss.needs, data.where)
    seen = samples.n_rows
    kept = round(n_rows * len(samples.atoms) / seen)
    about = "" if stride == 1 else "about "
    plan = batch_plan(settings, kept, context.seed)
    total = total_steps(settings, plan)
    scale = kept / len(samples.atoms)
    items = [
        PlanItem("rows", f"{_counted(n_rows, rows)} from {settings.data.name}" + _sampled(stride, seen)),
        *_notes(data),
        *lengths_told(store, settings.batch, noun, sampled=stride > 1),
        *left_out(samples, seen, data.where),
        *_fit(context, tokenizer, samples, loss),
        PlanItem(
            "tokens",
            f"{about}{scale * samples.n_tokens:,.0f} an epoch{_margin(samples, stride)}, "
            f"{scale * samples.n_targets:,.0f} of them targets",
        ),
        _step(settings, samples, samples.micro_tokens(settings.batch), noun),
        *_memory(settings, context, loss, samples, samples.micro_tokens(settings.batch)),
        PlanItem("1 epoch", f"{about}{_counted(plan.steps_per_epoch, 'steps')}"),
        PlanItem("all", f"{about}{_counted(total, 'steps')}, {settings.epochs} × the data" + _capped(settings, plan)),
        PlanItem("learning rate", rates_told(settings.optimizer, total)),
    ]
    if COLUMN in loss.needs.columns:
        items.append(PlanItem("reference", "its log-probs are computed once, before training; one model at a time"))
    return items


def _streamed(  # noqa: PLR0917  all that a plan looks at
    settings: TrainSettings,
    context: PlanContext,
    loss: Loss[Any],
    data: Dataset[Any],
    tokenizer: PreTrainedTokenizerBase,
    noun: str,
) -> list[PlanItem]:
    """The same for a stream, whose length nobody knows."""
    assert settings.stream is not None
    assert settings.max_steps is not None
    window = settings.stream.window
    try:
        rows = islice(data.entries(), min(window, SAMPLE))
        rules = Rules.of(loss.needs, settings.batch)
        store = Store(tokenised(tokenizer, rows, rules))
        samples = select(store, settings.batch, loss.needs, data.where)
    except Unreachable as error:
        return [PlanItem("rows", str(error), "warning")]
    seen = samples.n_rows
    told = (
        f"streamed from {settings.data.name}, shuffled within windows of {window:,}; figures are of the first {seen:,}"
    )
    feed = Streamed(settings, tokenizer, data, loss.needs, seed=context.seed)
    return [
        PlanItem("rows", told),
        *_notes(data),
        *lengths_told(store, settings.batch, noun, sampled=True),
        *left_out(samples, seen, data.where),
        *_fit(context, tokenizer, samples, loss),
        _step(settings, samples, feed.budget, noun, settings.batch.sequences),
        *_memory(settings, context, loss, samples, feed.budget),
        PlanItem("all", _counted(settings.max_steps, "steps")),
        PlanItem("learning rate", rates_told(settings.optimizer, settings.max_steps)),
    ]


def _tokenised(  # noqa: PLR0917  all that decides the tokens
    context: PlanContext,
    loss: Loss[Any],
    settings: TrainSettings,
    data: Dataset[Any],
    tokenizer: PreTrainedTokenizerBase,
    rows: Glance,
) -> Store:
    """The sample's tokens, made once for all stages of a plan that tokenise the same rows alike."""
    rules = Rules.of(loss.needs, settings.batch)
    key = f"tokens of {data.fingerprint()} by {context.model}, {tokenizer.chat_template!r}, {rules}"
    if key not in context.found:
        context.found[key] = Store(tokenised(tokenizer, rows.sample, rules))
    store: Store = context.found[key]
    return store


def _fit(
    context: PlanContext, tokenizer: PreTrainedTokenizerBase, samples: Samples, loss: Loss[Any]
) -> Iterator[PlanItem]:
    head: Head = "scalar" if "values" in loss.needs.scores else "lm"
    for label, message in check_fit(context.model, tokenizer, samples, head).items():
        yield PlanItem(label, message, "warning")


def _step(settings: TrainSettings, samples: Samples, budget: int, noun: str, per_step: int | None = None) -> PlanItem:
    per_step = per_step or min(settings.batch.sequences, len(samples.atoms))
    return PlanItem(
        "1 step",
        f"{_counted(per_step, noun)} ≈ {per_step * samples.n_tokens / len(samples.atoms):,.0f} tokens in "
        f"{_micro_batches(samples, per_step, budget)} of at most {budget:,} tokens",
    )


def _memory(
    settings: TrainSettings, context: PlanContext, loss: Loss[Any], samples: Samples, budget: int
) -> Iterator[PlanItem]:
    """What the engine would hold, of which activations grow with a micro-batch (F23)."""
    engine: Engine[Any] = context.builder.build(settings.engine)
    per_step = min(settings.batch.sequences, len(samples.atoms))
    tokens = min(budget, round(per_step * samples.n_tokens / len(samples.atoms)))
    targets = 0 if "values" in loss.needs.scores else max(1, round(tokens * samples.n_targets / samples.n_tokens))
    config = read_config(context.model)
    try:
        found = engine.memory(config, count_parameters(Path(context.model)), tokens, targets)
    except ModelError as error:
        yield PlanItem("memory", f"not predicted: {error}")
        return
    if not found:
        yield PlanItem("memory", f"not predicted by the engine {settings.engine.name!r} with these settings")
        return
    prefix = "activations, "
    other = {name.removeprefix(prefix): size for name, size in found.items() if name.startswith(prefix)}
    parts = {name: size for name, size in found.items() if not name.startswith(prefix)}
    each = ", ".join(f"{name} {gibibytes(size)}" for name, size in parts.items())
    yield PlanItem("memory", f"about {gibibytes(sum(parts.values()))} and what libraries take: {each}")
    modes = ", ".join(f"{name} {gibibytes(size)}" for name, size in other.items())
    yield PlanItem("activations", f"of {tokens:,} tokens in a micro-batch; in other modes: {modes}")


def _micro_batches(samples: Samples, per_step: int, budget: int) -> str:
    n = len(group_by_budget(samples.sizes[:per_step].tolist(), budget))
    return "1 micro-batch" if n == 1 else f"about {n} micro-batches"


def _glance(context: PlanContext, data: Dataset[Any]) -> Glance:
    """All rows, read once for all stages of a plan that have them."""
    key = f"rows of {data.fingerprint()}"
    if key not in context.found:
        context.found[key] = glance(data, ENOUGH, lambda rows: context.told(f"{rows:,} rows read"))
    found: Glance = context.found[key]
    return found


def _notes(data: Dataset[Any]) -> Iterator[PlanItem]:
    for note in data.notes():
        yield PlanItem("data", note)


def left_out(samples: Samples, seen: int, where: Where, *, of: str = "") -> Iterator[PlanItem]:
    """Rows that are left out or cut, for `aftertrain plan`."""
    for reason, ids in samples.dropped.items():
        (first,) = named(ids[:1], where)
        yield PlanItem(f"{of}left out", f"{len(ids):,} of {seen:,}: {reason}, such as {first}", "warning")
    if samples.truncated:
        (first,) = named(samples.truncated[:1], where)
        cut = f"{len(samples.truncated):,} of {seen:,} at batch.max_tokens, such as {first}"
        yield PlanItem(f"{of}cut", cut, "warning")


def validation_item(settings: TrainSettings, rows: int) -> PlanItem:
    """What is measured and when, for `aftertrain plan`."""
    chosen = settings.validation
    assert chosen is not None
    used = rows if chosen.rows is None else min(rows, chosen.rows)
    noun = "replies" if settings.batch.learn == "each" else "rows"
    return PlanItem("validation", f"on {used:,} {noun} every {chosen.every:,} steps and after the last")


def _sampled(stride: int, seen: int) -> str:
    return "" if stride == 1 else f"; {seen:,} of them, evenly taken, were tokenised for these figures"


def _margin(samples: Samples, stride: int) -> str:
    """How far off a total is that is drawn from one atom in `stride`: half its interval of 95 %."""
    n = len(samples.sizes)
    if stride == 1 or n < 2:
        return ""
    error = 1.96 * samples.sizes.std(ddof=1) * math.sqrt((1 - 1 / stride) / n)
    return f" (± {error / samples.sizes.mean():.1%}, 95 % sure)"


def _capped(settings: TrainSettings, plan: BatchPlan) -> str:
    cut = settings.max_steps is not None and settings.max_steps < plan.n_steps
    return f", cut short by max_steps (of {plan.n_steps:,})" if cut else ""


def _counted(n: int, nouns: str) -> str:
    """A number and its noun.

    >>> _counted(1, "replies"), _counted(1, "pairs"), _counted(2, "steps")
    ('1 reply', '1 pair', '2 steps')
    """
    return f"{n:,} {nouns if n != 1 else {'replies': 'reply'}.get(nouns, nouns.removesuffix('s'))}"
