"""One attempt at a train stage, in its order: rows are tokenised, stored, selected and scheduled; steps are taken."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.component import aside
from aftertrain.core.engine import Engine
from aftertrain.core.errors import BrokenWeights, Interrupted, ModelError, NumericsError, RunError
from aftertrain.core.events import Dropped, Metrics, Progress, Saved, Skipped, Warned
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.learning.saved import save_checked
from aftertrain.core.learning.schedule import Pace
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.learning.step import StepResult, train_step
from aftertrain.core.loss import TARGETS_PER_UNIT
from aftertrain.core.packed.packing import Atom, pack_share
from aftertrain.core.packed.router import untrained
from aftertrain.core.stage import StageContext
from aftertrain.core.text.endings import name_ends
from aftertrain.core.text.padding import reward_padding
from aftertrain.plugins.training.accounts import Accounts
from aftertrain.plugins.training.atoms import Atoms
from aftertrain.plugins.training.composed import Composed
from aftertrain.plugins.training.feed import Feed, Planned, Streamed
from aftertrain.plugins.training.parts import Parts
from aftertrain.plugins.training.reference import referenced
from aftertrain.plugins.training.samples import Samples, Where, named
from aftertrain.plugins.training.supply import Supply
from aftertrain.plugins.training.validation import Validation

if TYPE_CHECKING:
    from aftertrain.plugins.training import fit, misfits, picture
else:
    fit = aside("aftertrain.plugins.training.fit")
    misfits = aside("aftertrain.plugins.training.misfits")
    picture = aside("aftertrain.plugins.training.picture")

MOST_SKIPPED = 10
"""Steps in a row that may be passed over because they are not finite."""


class Attempt:
    """Trains from the last checkpoint on, or from the start; what is told of the data is told by the first attempt."""

    def __init__(self, parts: Parts, context: StageContext) -> None:
        self.parts, self.settings, self.context = parts, parts.settings, context
        self.model = context.inputs["model"].path
        self.tokenizer = parts.tokenizer(self.model, context.chat_template)
        self.latest = context.checkpoints.latest()
        self.first = self.latest is None
        self.accounts = Accounts(context.book, first=context.ranks.first)

    def run(self) -> Saved:
        """Train and save.

        Raises:
            DataError: a row cannot be used.
            NumericsError: a loss or gradient is not finite; names step and samples.
            Interrupted: the user asked to stop; a checkpoint is saved.
        """
        faults = misfits.template_warnings(self.parts, self.tokenizer, self.model)
        for message in (*faults, *self.parts.engine.notes(), *untrained(read_config(self.model))) if self.first else ():
            self._warn(message)
        engine = self.parts.new_engine()
        feed = self._feed(engine)
        validation = self._validation()
        steps_done = self._load(engine, feed)
        self.accounts.expect(feed.intake, feed.passes)
        last = self._steps(engine, feed, validation, steps_done)
        saved = self._save(engine, feed, steps_done, last)
        self.accounts.close(feed.intake, feed.passes, feed.unreached())
        self.context.emit(saved, feed.total)
        return saved

    def _feed(self, engine: Engine[Any]) -> Feed:
        """What gives each step its rows."""
        settings, seed = self.settings, self.context.seed
        loss, data = self.parts.loss, self.parts.data
        if settings.stream is not None:
            return Streamed(settings, self.tokenizer, data, loss.needs, seed=seed, told=self._begun)
        progress = partial(Progress, unit="rows tokenised")
        supply = Supply(
            self.parts,
            self.tokenizer,
            folder=self.context.folder,
            warn=self._warn,
            told=lambda rows: self.context.emit(progress(rows)),
            stopping=self.context.stopping,
        )
        samples = supply.samples()
        self._look(samples, data.where)
        budget = samples.micro_tokens(settings.batch)
        if self.first:
            self.context.emit(picture.picture(settings, samples, budget, seed))
        atoms = self._referenced(samples, budget, self.context.folder)
        planned = (settings, atoms, budget, seed, samples.intake)
        return Planned(*planned) if settings.compose is None else Composed(*planned, engine=engine)

    def _begun(self, samples: Samples, step: int) -> None:
        """A stream begins a window."""
        self.accounts.window(samples.intake)
        # Places are looked for from the start of the data: for the windows of a stream that would be far each time.
        self._look(samples, self.parts.data.where if step == 1 else lambda ids: {}, step)

    def _validation(self) -> Validation | None:
        """The held-out rows, with a reference where the loss needs one."""
        chosen, data = self.settings.validation, self.parts.held_out
        if chosen is None or data is None:
            return None
        supply = Supply(self.parts, self.tokenizer, folder=self.context.folder, stopping=self.context.stopping)
        samples = supply.held_out()
        self._look(samples, data.where, of="validation")
        used = samples.first(chosen.rows)
        budget = used.micro_tokens(self.settings.batch)
        folder = self.context.folder / "validation"
        folder.mkdir(exist_ok=True)
        return Validation(chosen, self._referenced(used, budget, folder), budget, self.context.ranks)

    def _referenced(self, samples: Samples, budget: int, folder: Path) -> Atoms:
        ranks = self.context.ranks
        return referenced(samples.atoms, self.parts, self.model, folder, budget, ranks=ranks, warn=self._warn)

    def _load(self, engine: Engine[Any], feed: Feed) -> int:
        """Load the model, and the last checkpoint into it and the feed; returns the steps that are done.

        Raises:
            RunError: the engine shares no work with the other ranks.
        """
        context, ranks = self.context, self.context.ranks
        seed = sub_seed(context.seed, "head")
        engine.load(self.model, head=self.parts.head, optimizer=self.settings.optimizer, seed=seed, ranks=ranks)
        if engine.ranks.size != ranks.size:
            raise RunError(
                f"stage {context.name!r}: the engine {self.settings.engine.name!r} shares no work, and the run has "
                f"{ranks.size} ranks, each of which would train by itself; run it without --nproc"
            )
        if self.latest is None:
            return 0
        steps_done, state = self.latest
        engine.load_state(state)
        feed.restore(state)
        return steps_done

    def _steps(self, engine: Engine[Any], feed: Feed, validation: Validation | None, steps_done: int) -> Sequence[Atom]:
        """Every step that is not done; the rows of the last one."""
        settings, context, total = self.settings, self.context, feed.total
        term, loss, ranks = self.parts.term, self.parts.loss, context.ranks
        skipped = 0
        rows: Sequence[Atom] = ()

        for step in range(steps_done + 1, total + 1):
            started = time.perf_counter()
            rows = feed.atoms(step)
            batches = pack_share(rows, feed.budget, rank=ranks.rank, ranks=ranks.size)
            pace = Pace(step - 1, total, len(rows) / settings.batch.sequences)
            rates = pace.rates({term: settings.optimizer})
            figures: dict[str, float] = {}
            timing: dict[str, float] = {}
            try:
                result = train_step({term: engine}, loss, batches, rates, step=step, progress=pace.progress)
            except BrokenWeights:
                raise
            except NumericsError as error:
                skipped += 1
                if settings.on_nonfinite == "stop" or skipped == MOST_SKIPPED:
                    raise
                self.accounts.step(feed.numbers(step, rows), rows, batches, learnt=False)
                context.emit(Skipped(str(error)), step)
            else:
                skipped = 0
                seconds = time.perf_counter() - started
                self.accounts.step(feed.numbers(step, rows), rows, batches, learnt=True)
                timing = {"seconds": seconds, "tokens_per_second": result.tokens / seconds}
                figures = {**_figures(result, term), **feed.figures(step), "micro_batches": len(batches)}
            if validation is not None and validation.due(step, total):
                figures |= validation.figures(engine, loss, progress=pace.progress)
            if figures:
                context.emit(Metrics({**figures, "epoch": feed.epoch(step)}, timing), step)
            context.emit(Progress(step, total, "steps"), step)
            stop = ranks.any(context.stopping(), f"whether to stop after step {step}")
            if stop or (step % settings.checkpoint_every == 0 and step < total):
                context.checkpoints.save(step, partial(_save, engine, feed))
            if stop:
                raise Interrupted(f"stage {context.name!r} stopped after step {step} of {total}; run it again to go on")
        return rows

    def _save(self, engine: Engine[Any], feed: Feed, steps_done: int, last: Sequence[Atom]) -> Saved:
        """Write the model and its tokenizer, and check what was written by some rows of the last step."""
        folder, head = self.context.folder / "model", self.parts.head
        rows = (segment.token_ids for atom in last for segment in atom)
        try:
            saved = save_checked(engine, folder, head=head, base=self.model, rows=rows)
        except ModelError:
            if steps_done < feed.total:
                # What was learnt is not at fault, and a later attempt has only to save it.
                self.context.checkpoints.save(feed.total, partial(_save, engine, feed))
            raise
        if self.context.ranks.first:
            if head == "scalar":
                self.tokenizer.pad_token_id = reward_padding(self.model)
            self.tokenizer.save_pretrained(folder)
            if head == "lm":
                name_ends(folder, self.tokenizer, self.model)
        return saved

    def _warn(self, message: str) -> None:
        self.context.emit(Warned(message))

    def _look(self, samples: Samples, where: Where, step: int | None = None, *, of: str = "") -> None:
        """Refuse samples that the model cannot take; tell what to know of them, and of each window what is left out.

        Args:
            of: begins what is told of rows that are not trained on.
        """
        warnings = fit.check_fit(self.model, self.tokenizer, samples, "lm" if of else self.parts.head)
        for message in warnings.values() if self.first and step in (None, 1) else ():
            self._warn(f"{of}: {message}" if of else message)
        counts = {reason: len(ids) for reason, ids in samples.dropped.items()}
        if samples.truncated:
            counts["truncated"] = len(samples.truncated)
        if counts and (self.first or step is not None):
            ids = [name for names in (*samples.dropped.values(), samples.truncated) for name in names]
            prefixed = {f"{of}_{reason}" if of else reason: count for reason, count in counts.items()}
            self.context.emit(Dropped(prefixed, tuple(named(ids[:5], where))), step)


def _save(engine: Engine[Any], feed: Feed, folder: Path) -> None:
    """A checkpoint's content; every rank calls it."""
    engine.save_state(folder)
    if engine.ranks.first:
        feed.save(folder)


def _figures(result: StepResult, term: str) -> dict[str, float]:
    report = result.reports[term]
    targets = result.metrics.get(TARGETS_PER_UNIT)
    return {
        "loss": result.losses[term],
        "learning_rate": report.learning_rate,
        "grad_norm": report.grad_norm,
        **({"grad_norm_per_token": report.grad_norm / targets} if targets else {}),
        "tokens": result.tokens,
        **result.metrics,
    }
