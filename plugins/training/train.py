"""The stage `train`: a model, a data set and an offline loss."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from aftertrain.core.component import aside
from aftertrain.core.errors import AftertrainError, RunError
from aftertrain.core.ground.model_folder import read_config
from aftertrain.core.ground.usage import Unused
from aftertrain.core.packed.packing import pack
from aftertrain.core.packed.router import untrained
from aftertrain.core.records import Artifact, ArtifactType, Document, PlanItem
from aftertrain.core.stage import PlanContext, Stage, StageContext, StageInput
from aftertrain.plugins.training.attempt import Attempt
from aftertrain.plugins.training.feed import Feed, Planned, Streamed
from aftertrain.plugins.training.parts import Parts
from aftertrain.plugins.training.settings import TrainSettings
from aftertrain.plugins.training.supply import Supply

if TYPE_CHECKING:
    from aftertrain.core.batch import PackedBatch
    from aftertrain.core.learning.trial import Trial
    from aftertrain.plugins.training import fit, misfits, outlook, trial
else:
    fit = aside("aftertrain.plugins.training.fit")
    misfits = aside("aftertrain.plugins.training.misfits")
    outlook = aside("aftertrain.plugins.training.outlook")
    trial = aside("aftertrain.plugins.training.trial")


class Train(Stage[TrainSettings]):
    """Trains on the rows of a data set, a fixed number of them per optimizer step.

    A step's rows are a pure function of seed and step number, so that a checkpoint is the engine's state and nothing
    else. A loss that needs only values makes a reward model, any other a language model.
    """

    Config = TrainSettings
    shared = True

    @cached_property
    def parts(self) -> Parts:
        """The stage's components."""
        return Parts(self.settings, self.builder)

    def inputs(self) -> Sequence[StageInput]:
        """The model to start from."""
        return (StageInput("model", self.settings.from_, frozenset({"model"})),)

    @property
    def output(self) -> ArtifactType:
        """Adapters where the engine saves these, else a model of the loss's head."""
        if self.parts.engine.saves == "adapter":
            return "adapter"
        return "reward_model" if self.parts.head == "scalar" else "model"

    def fingerprints(self) -> Mapping[str, str]:
        """Of the rows that are trained on, and of those held out."""
        # Built anew: a data set may keep what it has read, and its files may have changed since.
        fresh = Parts(self.settings, self.builder)
        digests = {"data": fresh.data.content()}
        if fresh.held_out is not None:
            digests["validation"] = fresh.held_out.content()
        return digests

    def plan(self, context: PlanContext) -> list[PlanItem]:
        """Whether loss, data, stage and chat template fit together; rows, steps, tokens and memory."""
        parts = self.parts
        if reasons := misfits.misfits(parts):
            return [PlanItem("loss", reason, "error") for reason in reasons]
        if refused := parts.engine.misfits(context.model, head=parts.head):
            return [PlanItem("engine", reason, "error") for reason in refused]
        tokenizer = parts.tokenizer(context.model, context.chat_template)
        items = [PlanItem("model", note, "warning") for note in untrained(read_config(context.model))]
        faults = misfits.template_warnings(parts, tokenizer, context.model)
        items += [PlanItem("template", fault, "warning") for fault in faults]
        if not context.figures:
            return items
        try:
            parts.engine.preflight(context.model, head=parts.head)
        except AftertrainError as error:
            items.append(PlanItem("engine", f"could not be used on this machine: {error}", "warning"))
        items += [PlanItem("engine", note, "warning") for note in parts.engine.notes()]
        items += outlook.outlook(parts, context, tokenizer)
        return items + outlook.validation(parts, tokenizer)

    def run(self, context: StageContext) -> Artifact:
        """Train, from the last checkpoint on if there is one.

        Raises:
            RunError: loss, data and stage do not fit together.
            DataError: a row cannot be used.
            NumericsError: a loss or gradient is not finite; names step and samples.
            Interrupted: the user asked to stop; a checkpoint is saved.
        """
        misfits.refuse_misfits(self.parts, context.name)
        saved = Attempt(self.parts, context).run()
        folder = str(context.folder / "model")
        return Artifact(self.output, folder, context.name, digest="", details={"saved": saved.facts()})

    def without_use(self) -> Mapping[str, Unused]:
        """What is for conversations where texts are learnt, and for an LM head where the model has another."""
        idle: dict[str, Unused] = {}
        if self.parts.data.record_type is Document:
            idle["batch.learn"] = Unused("all of a plain text is learnt")
        if self.parts.head == "scalar":
            scalar = Unused(f"the model of loss {self.settings.loss.name!r} has a scalar head")
            fields = type(self.settings.engine.settings).model_fields
            idle |= {f"engine.{name}": scalar for name in ("chunk", "head_kernel") if name in fields}
        return idle

    def check_data(self, context: PlanContext, stopping: Callable[[], bool]) -> None:
        """The engine's needs; tokenise the rows into the cache. A stream is not read ahead."""
        parts = self.parts
        parts.engine.preflight(context.model, head=parts.head)
        tokenizer = parts.tokenizer(context.model, context.chat_template)
        supply = Supply(parts, tokenizer, stopping=stopping)
        if self.settings.stream is None:
            samples = supply.samples()
            fit.check_fit(context.model, tokenizer, samples)
            samples.micro_tokens(self.settings.batch)
        if parts.held_out is not None:
            fit.check_fit(context.model, tokenizer, supply.held_out())

    def batches(self, context: PlanContext, step: int) -> list[PackedBatch]:
        """The micro-batches of a step; of a stream, all rows before it are read.

        Raises:
            RunError: the stage has no such step, or the model in training composes them.
        """
        parts, settings = self.parts, self.settings
        misfits.refuse_misfits(parts, context.name)
        if settings.compose is not None:
            raise RunError(
                f"stage {context.name!r}: the model in training composes the batches, so that none is known before; "
                "set compose: null to see rows as they are shuffled"
            )
        needs, tokenizer = parts.loss.needs, parts.tokenizer(context.model, context.chat_template)
        feed: Feed
        if settings.stream is not None:
            feed = Streamed(settings, tokenizer, parts.data, needs, seed=context.seed)
        else:
            samples = Supply(parts, tokenizer).samples()
            feed = Planned(settings, samples.atoms, samples.micro_tokens(settings.batch), context.seed)
        if not 1 <= step <= feed.total:
            raise RunError(f"stage {context.name!r} has steps 1 to {feed.total:,}, not {step:,}")
        for earlier in range(1, step) if settings.stream is not None else ():
            feed.atoms(earlier)
        return [batch.with_masks(needs.masks) for batch in pack(feed.atoms(step), feed.budget)]

    def where(self, ids: Collection[str]) -> Mapping[str, str]:
        """File and line of rows, as the data set knows them."""
        return self.parts.data.where(ids)

    def trial(self, context: PlanContext, rows: int) -> Trial:
        """The first rows that the stage would keep, with all that would train on them."""
        misfits.refuse_misfits(self.parts, context.name)
        return trial.make_trial(self.parts, context, rows, type(self))
