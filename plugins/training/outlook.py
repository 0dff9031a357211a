"""What a training stage would do, in figures, from the data and the tokenizer alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from aftertrain.core.errors import ModelError, Unreachable
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.learning.rates import rates_told
from aftertrain.core.packed.packing import group_by_budget
from aftertrain.core.records import PlanItem
from aftertrain.core.run.size import count_parameters, gibibytes
from aftertrain.core.stage import PlanContext
from aftertrain.plugins.training.feed import Streamed, batch_plan, total_steps
from aftertrain.plugins.training.fit import check_fit
from aftertrain.plugins.training.glance import SAMPLE, Glance, glance
from aftertrain.plugins.training.lengths import lengths_told
from aftertrain.plugins.training.parts import Parts
from aftertrain.plugins.training.reference import COLUMN
from aftertrain.plugins.training.rows import Rules
from aftertrain.plugins.training.samples import ENOUGH, Samples, Where, named, refuse_unusable, select
from aftertrain.plugins.training.store import Store
from aftertrain.plugins.training.supply import Supply
from aftertrain.plugins.training.tokenising import tokenised

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS = {"PreferencePair": "pairs", "Feedback": "replies", "Document": "texts"}


def outlook(parts: Parts, context: PlanContext, tokenizer: PreTrainedTokenizerBase) -> list[PlanItem]:
    """Rows, tokens, steps and micro-batches; what is dropped or cut.

    Raises:
        DataError: a row cannot be used.
        ModelError: the tokenizer does not fit the model.
    """
    try:
        look = (_first_window if parts.settings.stream is not None else _all_rows)(parts, context, tokenizer)
    except Unreachable as error:
        return [PlanItem("rows", str(error), "warning")]
    samples = select(look.store, parts.settings.batch, parts.loss.needs, parts.data.where)
    return list(_items(parts, context, tokenizer, look, samples))


@dataclass(frozen=True, slots=True)
class Look:
    """What a plan has seen of the rows.

    Attributes:
        source: where the rows are from, and how many, for people.
        stride: of so many rows one is tokenised; None where only the first are.
        n_rows: rows in all; 0 of a stream, whose length nobody knows.
    """

    store: Store
    source: str
    stride: int | None = None
    n_rows: int = 0


def _all_rows(parts: Parts, context: PlanContext, tokenizer: PreTrainedTokenizerBase) -> Look:
    """All rows, read once for all stages of a plan; a sample's tokens, made once for all that tokenise it alike."""
    settings, data = parts.settings, parts.data
    content = data.fingerprint()
    key = f"rows of {content}"
    if key not in context.found:
        context.found[key] = glance(data, ENOUGH, lambda rows: context.told(f"{rows:,} rows read"))
    seen: Glance = context.found[key]
    # Bad rows outside the sample are told here, so that none is passed over; the others with what is tokenised.
    if seen.stride > 1 or len(seen.faults) >= ENOUGH:
        refuse_unusable(list(seen.faults), seen.n_rows, settings.batch, data.where)
    rules = Rules.of(parts.loss.needs, settings.batch)
    key = f"tokens of {content} by {context.model}, {tokenizer.chat_template!r}, {rules}"
    if key not in context.found:
        context.found[key] = Store(tokenised(tokenizer, seen.sample, rules))
    store: Store = context.found[key]
    source = f"{_counted(seen.n_rows, _rows(parts))} from {settings.data.name}"
    if seen.stride > 1:
        source += f"; {store.n_rows:,} of them, evenly taken, were tokenised for these figures"
    return Look(store, source, seen.stride, seen.n_rows)


def _first_window(parts: Parts, context: PlanContext, tokenizer: PreTrainedTokenizerBase) -> Look:
    settings = parts.settings
    assert settings.stream is not None
    window = settings.stream.window
    rows = islice(parts.data.entries(), min(window, SAMPLE))
    store = Store(tokenised(tokenizer, rows, Rules.of(parts.loss.needs, settings.batch)))
    shuffled = f"streamed from {settings.data.name}, shuffled within windows of {window:,}"
    return Look(store, f"{shuffled}; figures are of the first {store.n_rows:,}")


def _items(
    parts: Parts, context: PlanContext, tokenizer: PreTrainedTokenizerBase, look: Look, samples: Samples
) -> Iterator[PlanItem]:
    settings, data, needs, streamed = parts.settings, parts.data, parts.loss.needs, look.stride is None
    singly = needs.atom == "segment" and _rows(parts) == "pairs"
    noun = "replies" if singly or settings.batch.learn == "each" else _rows(parts)
    yield PlanItem("rows", look.source)
    for note in data.notes():
        yield PlanItem("data", note)
    yield from lengths_told(look.store, settings.batch, noun, sampled=look.stride != 1)
    yield from _left_out(samples, data.where)
    for label, message in check_fit(context.model, tokenizer, samples, parts.head).items():
        yield PlanItem(label, message, "warning")
    if streamed:
        budget = Streamed(settings, tokenizer, data, needs, seed=context.seed).budget
        per_step = settings.batch.sequences
    else:
        budget = samples.micro_tokens(settings.batch)
        per_step = min(settings.batch.sequences, len(samples.atoms))
    n_kept = round(look.n_rows * len(samples.atoms) / samples.n_rows)
    about, scale = "" if look.stride == 1 else "about ", n_kept / len(samples.atoms)
    if not streamed:
        tokens = f"{about}{scale * samples.n_tokens:,.0f} an epoch{_margin(samples, look.stride or 1)}"
        yield PlanItem("tokens", f"{tokens}, {scale * samples.n_targets:,.0f} of them targets")
    in_step = f"{_counted(per_step, noun)} ≈ {per_step * samples.n_tokens / len(samples.atoms):,.0f} tokens"
    n = len(group_by_budget(samples.atoms.sizes[:per_step].tolist(), budget))
    micro_batches = "1 micro-batch" if n == 1 else f"about {n} micro-batches"
    yield PlanItem("1 step", f"{in_step} in {micro_batches} of at most {budget:,} tokens")
    yield from _memory(parts, context, samples, budget)
    total = settings.max_steps or 0
    if streamed:
        yield PlanItem("all", _counted(total, "steps"))
    else:
        plan = batch_plan(settings, n_kept, context.seed)
        total = total_steps(settings, plan)
        capped = f", cut short by max_steps (of {plan.n_steps:,})" if total < plan.n_steps else ""
        yield PlanItem("1 epoch", f"{about}{_counted(plan.steps_per_epoch, 'steps')}")
        yield PlanItem("all", f"{about}{_counted(total, 'steps')}, {settings.epochs} × the data{capped}")
    yield PlanItem("learning rate", rates_told(settings.optimizer, total))
    if COLUMN in needs.columns:
        yield PlanItem("reference", "its log-probs are computed once, before training; one model at a time")


def _rows(parts: Parts) -> str:
    return ROWS.get(parts.data.record_type.__name__, "conversations")


def _memory(parts: Parts, context: PlanContext, samples: Samples, budget: int) -> Iterator[PlanItem]:
    """What the engine would hold, of which activations grow with a micro-batch (F23)."""
    settings = parts.settings
    per_step = min(settings.batch.sequences, len(samples.atoms))
    tokens = min(budget, round(per_step * samples.n_tokens / len(samples.atoms)))
    targets = 0 if parts.head == "scalar" else max(1, round(tokens * samples.n_targets / samples.n_tokens))
    config = read_config(context.model)
    try:
        bytes_of = parts.engine.memory(config, count_parameters(Path(context.model)), tokens, targets)
    except ModelError as error:
        yield PlanItem("memory", f"not predicted: {error}")
        return
    if not bytes_of:
        yield PlanItem("memory", f"not predicted by the engine {settings.engine.name!r} with these settings")
        return
    prefix = "activations, "
    other = {name.removeprefix(prefix): size for name, size in bytes_of.items() if name.startswith(prefix)}
    held = {name: size for name, size in bytes_of.items() if not name.startswith(prefix)}
    shares = ", ".join(f"{name} {gibibytes(size)}" for name, size in held.items())
    yield PlanItem("memory", f"about {gibibytes(sum(held.values()))} and what libraries take: {shares}")
    modes = ", ".join(f"{name} {gibibytes(size)}" for name, size in other.items())
    yield PlanItem("activations", f"of {tokens:,} tokens in a micro-batch; in other modes: {modes}")


def _left_out(samples: Samples, where: Where, *, of: str = "") -> Iterator[PlanItem]:
    """Rows that are left out or cut."""
    for reason, ids in samples.dropped.items():
        (first,) = named(ids[:1], where)
        yield PlanItem(f"{of}left out", f"{len(ids):,} of {samples.n_rows:,}: {reason}, such as {first}", "warning")
    if samples.truncated:
        (first,) = named(samples.truncated[:1], where)
        cut = f"{len(samples.truncated):,} of {samples.n_rows:,} at batch.max_tokens, such as {first}"
        yield PlanItem(f"{of}cut", cut, "warning")


def validation(parts: Parts, tokenizer: PreTrainedTokenizerBase) -> list[PlanItem]:
    """What is measured and when, and what of the held-out rows is not; all of them are tokenised.

    Raises:
        DataError: a row cannot be used.
    """
    chosen, data = parts.settings.validation, parts.held_out
    if chosen is None or data is None:
        return []
    held_out = Supply(parts, tokenizer).held_out()
    rows = min(len(held_out.atoms), chosen.rows or len(held_out.atoms))
    noun = "replies" if parts.settings.batch.learn == "each" else "rows"
    item = PlanItem("validation", f"on {rows:,} {noun} every {chosen.every:,} steps and after the last")
    return [item, *_left_out(held_out, data.where, of="validation, ")]


def _margin(samples: Samples, stride: int) -> str:
    """How far off a total is that is drawn from one atom in `stride`: half its interval of 95 %."""
    n = len(samples.atoms.sizes)
    if stride == 1 or n < 2:
        return ""
    error = 1.96 * samples.atoms.sizes.std(ddof=1) * math.sqrt((1 - 1 / stride) / n)
    return f" (± {error / samples.atoms.sizes.mean():.1%}, 95 % sure)"


def _counted(n: int, nouns: str) -> str:
    """A number and its noun.

    >>> _counted(1, "replies"), _counted(1, "pairs"), _counted(2, "steps")
    ('1 reply', '1 pair', '2 steps')
    """
    return f"{n:,} {nouns if n != 1 else {'replies': 'reply'}.get(nouns, nouns.removesuffix('s'))}"
