"""The stage `train`: a model, a data set and an offline loss."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.component import aside
from aftertrain.core.dataset import Dataset
from aftertrain.core.engine import Engine, Head
from aftertrain.core.errors import AftertrainError, BrokenWeights, Interrupted, ModelError, NumericsError, RunError
from aftertrain.core.events import Dropped, Metrics, Progress, Skipped, Warned
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.ground.usage import Unused
from aftertrain.core.learning.saved import save_checked
from aftertrain.core.learning.schedule import Pace
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.learning.step import StepResult, train_step
from aftertrain.core.loss import TARGETS_PER_UNIT, Loss
from aftertrain.core.packed.packing import Atom, pack, pack_share
from aftertrain.core.packed.router import untrained
from aftertrain.core.records import Artifact, ArtifactType, Document, PlanItem
from aftertrain.core.stage import PlanContext, Stage, StageContext, StageInput
from aftertrain.core.text.endings import name_ends
from aftertrain.core.text.padding import reward_padding
from aftertrain.plugins.training.accounts import Accounts
from aftertrain.plugins.training.composed import Composed
from aftertrain.plugins.training.feed import Feed, Planned, Streamed
from aftertrain.plugins.training.reference import COLUMN, Tokens, reference_key, with_reference
from aftertrain.plugins.training.rows import tokenizer_for
from aftertrain.plugins.training.samples import Samples, Where, named
from aftertrain.plugins.training.settings import TrainSettings
from aftertrain.plugins.training.supply import Supply
from aftertrain.plugins.training.validation import PREFIX, Validation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from aftertrain.core.batch import PackedBatch
    from aftertrain.core.learning.trial import Trial
    from aftertrain.plugins.training import fit, misfits, outlook, picture, trial
else:
    fit = aside("aftertrain.plugins.training.fit")
    misfits = aside("aftertrain.plugins.training.misfits")
    outlook = aside("aftertrain.plugins.training.outlook")
    picture = aside("aftertrain.plugins.training.picture")
    trial = aside("aftertrain.plugins.training.trial")

MOST_SKIPPED = 10
"""Steps in a row that may be passed over because they are not finite."""


class Train(Stage[TrainSettings]):
    """Trains on the rows of a data set, a fixed number of them per optimizer step.

    A step's rows are a pure function of seed and step number, so that a checkpoint is the engine's state and nothing
    else. A loss that needs only values makes a reward model, any other a language model.
    """

    Config = TrainSettings
    shared = True

    def inputs(self) -> Sequence[StageInput]:
        return (StageInput("model", self.settings.from_, frozenset({"model"})),)

    @property
    def output(self) -> ArtifactType:
        if self._engine().saves == "adapter":
            return "adapter"
        return "reward_model" if self._head == "scalar" else "model"

    def fingerprints(self) -> Mapping[str, str]:
        found = {"data": self._data().content()}
        if self.settings.validation is not None:
            found["validation"] = self.builder.build(self.settings.validation.data).content()
        return found

    def run(self, context: StageContext) -> Artifact:
        """Train, from the last checkpoint on if there is one.

        Raises:
            RunError: loss, data and stage do not fit together.
            DataError: a row cannot be used.
            NumericsError: a loss or gradient is not finite; names step and samples.
            Interrupted: the user asked to stop; a checkpoint is saved.
        """
        loss, data = self._loss(), self._data()
        if found := misfits.misfits(self.settings, self.builder, loss, data):
            raise RunError(f"stage {context.name!r}: {'; '.join(found)}")
        model = context.inputs["model"]
        tokenizer = tokenizer_for(data, model.path, context.chat_template)
        latest = context.checkpoints.latest()
        engine = self._engine()
        faults = misfits.template_warnings(tokenizer, model.path, data, engine, self._head)
        if latest is None:
            for message in (*faults, *engine.notes(), *untrained(read_config(model.path))):
                context.emit(Warned(message))
        feed = self._feed(context, tokenizer, data, loss, engine, first=latest is None)
        validation = self._validation(context, tokenizer, loss, first=latest is None)
        engine.load(
            model.path,
            head=self._head,
            optimizer=self.settings.optimizer,
            seed=sub_seed(context.seed, "head"),
            ranks=context.ranks,
        )
        if engine.ranks.size != context.ranks.size:
            raise RunError(
                f"stage {context.name!r}: the engine {self.settings.engine.name!r} shares no work, and the run has "
                f"{context.ranks.size} ranks, each of which would train by itself; run it without --nproc"
            )
        done = 0
        if latest is not None:
            done, state = latest
            engine.load_state(state)
            feed.restore(state)
        accounts = Accounts(context.book, first=context.ranks.first)
        accounts.expect(feed.intake, feed.passes)
        last = self._steps(context, engine, loss, feed, validation=validation, accounts=accounts, done=done)
        folder = context.folder / "model"
        try:
            saved = save_checked(
                engine,
                folder,
                head=self._head,
                base=model.path,
                rows=(segment.token_ids for atom in last for segment in atom),
            )
        except ModelError:
            if done < feed.total:
                # What was learnt is not at fault, and a later attempt has only to save it.
                context.checkpoints.save(feed.total, partial(_save, engine, feed))
            raise
        accounts.close(feed.intake, feed.passes, feed.unreached())
        context.emit(saved, feed.total)
        if context.ranks.first:
            if self._head == "scalar":
                tokenizer.pad_token_id = reward_padding(model.path)
            tokenizer.save_pretrained(folder)
            if self._head == "lm":
                name_ends(folder, tokenizer, model.path)
        return Artifact(self.output, str(folder), context.name, digest="", details={"saved": saved.facts()})

    def without_use(self) -> Mapping[str, Unused]:
        """What is for conversations where texts are learnt, and for an LM head where the model has another."""
        found: dict[str, Unused] = {}
        if self._data().record_type is Document:
            found["batch.learn"] = Unused("all of a plain text is learnt")
        if self._head == "scalar":
            told = Unused(f"the model of loss {self.settings.loss.name!r} has a scalar head")
            fields = type(self.settings.engine.settings).model_fields
            found |= {f"engine.{name}": told for name in ("chunk", "head_kernel") if name in fields}
        return found

    def plan(self, context: PlanContext) -> list[PlanItem]:
        """Whether loss, data, stage and chat template fit together; rows, steps, tokens and memory."""
        loss, data = self._loss(), self._data()
        if found := misfits.misfits(self.settings, self.builder, loss, data):
            return [PlanItem("loss", misfit, "error") for misfit in found]
        if refused := self._engine().misfits(context.model, head=self._head):
            return [PlanItem("engine", misfit, "error") for misfit in refused]
        tokenizer = tokenizer_for(data, context.model, context.chat_template)
        items = [PlanItem("model", note, "warning") for note in untrained(read_config(context.model))]
        faults = misfits.template_warnings(tokenizer, context.model, data, self._engine(), self._head)
        items += [PlanItem("template", fault, "warning") for fault in faults]
        if not context.figures:
            return items
        try:
            self._engine().preflight(context.model, head=self._head)
        except AftertrainError as error:
            items.append(PlanItem("engine", f"could not be used on this machine: {error}", "warning"))
        items += [PlanItem("engine", note, "warning") for note in self._engine().notes()]
        items += outlook.outlook(self.settings, context, loss, data)
        if self.settings.validation is not None:
            held_out = self._held_out(tokenizer, loss)
            items.append(outlook.validation_item(self.settings, len(held_out.atoms)))
            where = self.builder.build(self.settings.validation.data).where
            items += outlook.left_out(held_out, held_out.n_rows, where, of="validation, ")
        return items

    def check_data(self, context: PlanContext, stopping: Callable[[], bool]) -> None:
        """The engine's needs; tokenise the rows into the cache. A stream is not read ahead."""
        loss, data = self._loss(), self._data()
        self._engine().preflight(context.model, head=self._head)
        if self.settings.stream is None:
            tokenizer = tokenizer_for(data, context.model, context.chat_template)
            samples = Supply(self.settings, self.builder, stopping=stopping).samples(tokenizer, data, loss.needs)
            fit.check_fit(context.model, tokenizer, samples)
            samples.micro_tokens(self.settings.batch)
        if self.settings.validation is not None:
            tokenizer = tokenizer_for(data, context.model, context.chat_template)
            fit.check_fit(context.model, tokenizer, self._held_out(tokenizer, loss, stopping=stopping))

    def batches(self, context: PlanContext, step: int) -> list[PackedBatch]:
        loss, data = self._loss(), self._data()
        if found := misfits.misfits(self.settings, self.builder, loss, data):
            raise RunError(f"stage {context.name!r}: {'; '.join(found)}")
        if self.settings.compose is not None:
            raise RunError(
                f"stage {context.name!r}: the model in training composes the batches, so that none is known before; "
                "set compose: null to see rows as they are shuffled"
            )
        tokenizer = tokenizer_for(data, context.model, context.chat_template)
        feed: Feed
        if self.settings.stream is not None:
            feed = Streamed(self.settings, tokenizer, data, loss.needs, seed=context.seed)
        else:
            samples = Supply(self.settings, self.builder).samples(tokenizer, data, loss.needs)
            budget = samples.micro_tokens(self.settings.batch)
            feed = Planned(self.settings, samples.atoms, budget, context.seed)
        if not 1 <= step <= feed.total:
            raise RunError(f"stage {context.name!r} has steps 1 to {feed.total:,}, not {step:,}")
        if self.settings.stream is not None:
            for earlier in range(1, step):
                feed.atoms(earlier)
        return [batch.with_masks(loss.needs.masks) for batch in pack(feed.atoms(step), feed.budget)]

    def where(self, ids: Collection[str]) -> Mapping[str, str]:
        return self._data().where(ids)

    def trial(self, context: PlanContext, rows: int) -> Trial:
        loss, data = self._loss(), self._data()
        if found := misfits.misfits(self.settings, self.builder, loss, data):
            raise RunError(f"stage {context.name!r}: {'; '.join(found)}")
        return trial.make_trial(self.settings, context, loss, rows, type(self))

    def _steps(
        self,
        context: StageContext,
        engine: Engine[Any],
        loss: Loss[Any],
        feed: Feed,
        *,
        validation: Validation | None,
        accounts: Accounts,
        done: int,
    ) -> Sequence[Atom]:
        """Every step that is not done; the rows of the last one."""
        settings, total = self.settings, feed.total
        (term,) = loss.needs.per
        ranks = context.ranks
        skipped = 0
        rows: Sequence[Atom] = ()

        for step in range(done + 1, total + 1):
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
                accounts.step(feed.numbers(step, rows), rows, batches, learnt=False)
                context.emit(Skipped(str(error)), step)
            else:
                skipped = 0
                seconds = time.perf_counter() - started
                accounts.step(feed.numbers(step, rows), rows, batches, learnt=True)
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

    def _feed(
        self,
        context: StageContext,
        tokenizer: PreTrainedTokenizerBase,
        data: Dataset[Any],
        loss: Loss[Any],
        engine: Engine[Any],
        *,
        first: bool,
    ) -> Feed:
        """What gives each step its rows. On the `first` attempt events tell of the data."""
        settings, model = self.settings, context.inputs["model"].path

        def warn(message: str) -> None:
            context.emit(Warned(message))

        def window(samples: Samples, step: int) -> None:
            unknown = fit.check_fit(model, tokenizer, samples)
            if self._head == "scalar":
                unknown += fit.check_padding(model, tokenizer, samples)
            for message in unknown if step == 1 else ():
                warn(message)
            Accounts(context.book, first=context.ranks.first).window(samples.intake)
            # Places are looked for from the start of the data: for the windows of a stream that would be far each time.
            _emit_left_out(context, samples, step, data.where if step == 1 else lambda ids: {})

        if settings.stream is not None:
            return Streamed(settings, tokenizer, data, loss.needs, seed=context.seed, told=window)
        supply = Supply(
            settings,
            self.builder,
            folder=context.folder,
            warn=warn,
            told=lambda rows: context.emit(Progress(rows, unit="rows tokenised")),
            stopping=context.stopping,
        )
        samples = supply.samples(tokenizer, data, loss.needs)
        unknown = fit.check_fit(model, tokenizer, samples)
        if self._head == "scalar":
            unknown += fit.check_padding(model, tokenizer, samples)
        budget = samples.micro_tokens(settings.batch)
        if first:
            for message in unknown:
                warn(message)
            _emit_left_out(context, samples, None, data.where)
            context.emit(picture.picture(settings, samples, budget, context.seed))
        atoms = self._referenced(context, loss, samples, budget, context.folder)
        planned = Planned(settings, atoms, budget, context.seed, samples.intake)
        return planned if settings.compose is None else Composed(planned, settings.compose, engine)

    def _validation(
        self, context: StageContext, tokenizer: PreTrainedTokenizerBase, loss: Loss[Any], *, first: bool
    ) -> Validation | None:
        """The held-out rows, with a reference where the loss needs one. On the `first` attempt events tell of them."""
        chosen = self.settings.validation
        if chosen is None:
            return None
        samples = self._held_out(tokenizer, loss, folder=context.folder, stopping=context.stopping)
        unknown = fit.check_fit(context.inputs["model"].path, tokenizer, samples)
        if first:
            for message in unknown:
                context.emit(Warned(f"validation: {message}"))
            _emit_left_out(context, samples, None, self.builder.build(chosen.data).where, prefix=PREFIX)
        used = samples.first(chosen.rows)
        budget = used.micro_tokens(self.settings.batch)
        folder = context.folder / "validation"
        folder.mkdir(exist_ok=True)
        return Validation(chosen, self._referenced(context, loss, used, budget, folder), budget, context.ranks)

    def _held_out(self, tokenizer: PreTrainedTokenizerBase, loss: Loss[Any], **supply: Any) -> Samples:
        assert self.settings.validation is not None
        settings = self.settings.model_copy(update={"data": self.settings.validation.data, "stream": None})
        data: Dataset[Any] = self.builder.build(settings.data)
        return Supply(settings, self.builder, **supply).samples(tokenizer, data, loss.needs)

    def _referenced(
        self, context: StageContext, loss: Loss[Any], samples: Samples, budget: int, folder: Path
    ) -> Sequence[Atom]:
        if COLUMN not in loss.needs.columns:
            return samples.atoms
        model = context.inputs["model"]

        def reference() -> Engine[Any]:
            engine = self._engine()
            engine.load(model.path, ranks=context.ranks)
            return engine

        key = reference_key(Path(model.path), self._engine(), samples.atoms, budget)
        return with_reference(
            Tokens(samples.atoms, samples.lengths, samples.sizes),
            folder,
            key,
            budget,
            reference,
            ranks=context.ranks,
            warn=lambda message: context.emit(Warned(message)),
        )

    @property
    def _head(self) -> Head:
        return "scalar" if self._loss().needs.scores == {"values"} else "lm"

    def _loss(self) -> Loss[Any]:
        return self.builder.build(self.settings.loss)

    def _data(self) -> Dataset[Any]:
        return self.builder.build(self.settings.data)

    def _engine(self) -> Engine[Any]:
        return self.builder.build(self.settings.engine)


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


def _emit_left_out(
    context: StageContext, samples: Samples, step: int | None, where: Where, *, prefix: str = ""
) -> None:
    counts = {reason: len(ids) for reason, ids in samples.dropped.items()}
    if samples.truncated:
        counts["truncated"] = len(samples.truncated)
    if counts:
        ids = [name for names in (*samples.dropped.values(), samples.truncated) for name in names]
        told = {prefix + reason: count for reason, count in counts.items()}
        context.emit(Dropped(told, tuple(named(ids[:5], where))), step)
