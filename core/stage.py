"""The stage interface: one step of a recipe, from input artifacts to one artifact, resumable to the same bits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import Field

from aftertrain.core.book import Book
from aftertrain.core.component import Component
from aftertrain.core.events import Difference, Event, ScoreRow
from aftertrain.core.ground.usage import Unused
from aftertrain.core.ground.wording import at_temperature
from aftertrain.core.ranks import ALONE, Ranks
from aftertrain.core.records import Artifact, PlanItem, Thoughts
from aftertrain.core.settings import Builder, Settings, unhashed

if TYPE_CHECKING:
    from aftertrain.core.batch import PackedBatch
    from aftertrain.core.dataset import Dataset

BASE = "base"
"""The name under which a stage refers to the recipe's own model."""


class SeededSettings(Settings):
    """Settings that every stage has."""

    # The seed that a stage runs with is in its hash by itself, whoever sets it.
    seed: Annotated[int, Field(ge=0)] | None = unhashed(
        None, description="Seed of everything random in this stage; null: the recipe's."
    )


class StageSettings(SeededSettings):
    """Settings of a stage that goes on from a model."""

    from_: str = Field(
        BASE, alias="from", description="Stage whose model this one starts from; 'base' is the recipe's."
    )


S = TypeVar("S", bound=SeededSettings)


@dataclass(frozen=True, slots=True)
class StageInput:
    """A parent of a stage in the graph.

    Attributes:
        role: what the stage calls it: the name of the setting that names it (`critic`), `model` for `from`; one of
            several under a setting has more behind a colon (`compare:sft-eval`).
        stage: the parent's name, or `base`.
        types: artifact types that fit.
    """

    role: str
    stage: str
    types: frozenset[str]


class CheckpointStore(Protocol):
    """A stage's checkpoints, which are whole or absent."""

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """Commit what `write(folder)` puts into a fresh folder as the checkpoint of `step`.

        Raises:
            CheckpointError: the disk is full or the folder unwritable; earlier checkpoints stay as they were.
        """

    def latest(self) -> tuple[int, Path] | None:
        """Step and folder of the newest checkpoint that is undamaged, or None."""


class Emit(Protocol):
    """Writes an event of this stage: `emit(Metrics({"loss": 0.3}), step)`; see `aftertrain.core.events`."""

    def __call__(self, event: Event, step: int | None = None, /) -> None: ...


@dataclass(frozen=True)
class Learnt:
    """What a stage learnt from that made a model.

    Attributes:
        data: its data sets.
        rollouts: its folder, where it keeps the replies that it learnt from (see `core.learning.rollouts`).
        unknown: why nothing, or not all, of it can be looked at; "" where all can.
    """

    data: tuple[Dataset[Any], ...] = ()
    rollouts: Path | None = None
    unknown: str = ""


@dataclass(frozen=True)
class StageContext:
    """What a running stage is given.

    Attributes:
        name: the stage's name in the recipe.
        folder: its own folder, `stages/<name>-<hash>/`; it exists. `checkpoints/`, `model/`, `samples/` live in it.
        seed: the stage's seed, or the run's where it has none; derive others with
            `core.learning.seeding.sub_seed(seed, purpose)`: the stage's name is not in its hash.
        inputs: artifacts by role (see `Stage.inputs`).
        builder: constructs nested components.
        checkpoints: saves and finds this stage's checkpoints. Saving emits `checkpoint`.
        emit: writes events. A step's events come before the checkpoint of that step is saved, so that a kill between
            the two loses none of them.
        stopping: true when the user asked to stop: save a checkpoint and raise `Interrupted`.
        chat_template: named template that replaces the tokenizer's own (see `core.text.chat.load_tokenizer`).
        book: where the stage enters what it owes and what became of it. It is kept in checkpoints by itself, and a
            stage whose book does not balance is not done.
        ranks: the processes that work on this stage together; one, unless it is `shared`.
        trained_on: what the stages learnt from that made the models it is given, by stage; those of other runs as
            `RUN:STAGE`. Empty where nothing is known of them, and for a stage that does not look back.
        cache: folder of the run for what stages may find again and miss without harm, to be made by who writes there;
            None outside of a run.
    """

    name: str
    folder: Path
    seed: int
    inputs: Mapping[str, Artifact]
    builder: Builder
    checkpoints: CheckpointStore
    emit: Emit
    stopping: Callable[[], bool]
    chat_template: str | None = None
    book: Book = field(default_factory=Book)
    ranks: Ranks = ALONE
    cache: Path | None = None
    trained_on: Mapping[str, Learnt] = field(default_factory=dict)

    @property
    def replies(self) -> Path | None:
        """The run's store of models' replies, one for all its stages; None outside of a run."""
        return None if self.cache is None else self.cache / "completions.sqlite"

    def replies_in(self, store: str | Literal[False] | None) -> Path | None:
        """The store that a stage's setting names: of None the run's, of false none."""
        if store is None:
            return self.replies
        return Path(store) if store else None


@dataclass(frozen=True)
class PlanContext:
    """What `Stage.plan` may look at: no weights are loaded.

    Attributes:
        model: folder of the model the stage would start from, if it exists already (else the recipe's base model), or
            an endpoint's address; "" where the recipe has no model.
        chat_template: named template that replaces the tokenizer's own.
        told: told how far a long look has come, in a few words.
        found: what took long to find and another stage of the same plan may use, by a key that says what it is of.
        figures: whether what `run` would do is wanted, beside the checks.
    """

    name: str
    model: str
    seed: int
    builder: Builder
    chat_template: str | None = None
    told: Callable[[str], None] = lambda words: None
    found: dict[str, Any] = field(default_factory=dict)
    figures: bool = True


class Stage(Component[S]):
    """One step of a recipe. What only some stages can do is a Protocol below, for which whoever needs it asks."""

    kind: ClassVar[str] = "stage"
    shared: ClassVar[bool] = False
    """Whether every rank of a run of many processes runs this stage (see `StageContext.ranks`). Otherwise rank 0 runs
    it alone, as in a run of one process, and the others wait."""
    looks_back: ClassVar[bool] = False
    """Whether it is told what trained its models (see `StageContext.trained_on`), which takes a look at all data."""

    @abstractmethod
    def inputs(self) -> Sequence[StageInput]:
        """Parents by role; the graph is made of these."""

    @property
    @abstractmethod
    def output(self) -> str:
        """Type of the artifact that `run` returns (see `Artifact.type`)."""

    @abstractmethod
    def fingerprints(self) -> Mapping[str, str]:
        """Content digests of everything outside the settings that decides the result (data sets, files)."""

    @abstractmethod
    def run(self, context: StageContext) -> Artifact:
        """Do the work, resuming from the last good checkpoint when there is one.

        The runner fills in the artifact's stage and digest, and removes `<folder>/model` before a stage that is not
        done is run again.

        Raises:
            Interrupted: the user asked to stop; a checkpoint is saved.
        """

    @abstractmethod
    def plan(self, context: PlanContext) -> list[PlanItem]:
        """Every check that needs no weights, and what `run` would do, in figures; nothing more over an error.

        A run asks before its first stage starts, with `context.figures` false, and refuses to start over an error: what
        takes long may be left out then. What `run` itself refuses for the same reasons it refuses in the same words.

        Raises:
            AftertrainError: a check cannot be made, which is an error too.
        """


@dataclass(frozen=True, slots=True)
class ReplayedReply:
    """One reply of a step that was made again by other settings.

    Attributes:
        advantage: mean of its tokens' advantages, as it was learnt from; None where it was not.
        otherwise: the same by the other settings.
        clipped: tokens that had an advantage and no gradient in some pass, as the step was learnt from.
        clipped_otherwise: the same by the other settings.
    """

    id: str
    reward: float
    advantage: float | None
    otherwise: float | None
    clipped: int = 0
    clipped_otherwise: int = 0


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recorded step of a stage, made again.

    Attributes:
        step: counted from 1.
        start: step of the checkpoint that it went from, 0 for the stage's start.
        columns: largest difference of each token column from what was recorded; all 0 where the bits are the same.
        now: figures of the step.
        otherwise: by the changed settings; None where there are none.
        cosine: of the angle between the two updates of the weights.
        replies: where settings were changed, what became of each reply.
    """

    step: int
    start: int
    columns: Mapping[str, float]
    now: Mapping[str, float]
    otherwise: Mapping[str, float] | None
    cosine: float | None
    replies: tuple[ReplayedReply, ...]


@runtime_checkable
class Replays(Protocol):
    """A stage that keeps what its steps learnt from, so that a step can be made again."""

    def replay(
        self, context: StageContext, step: int, start: tuple[int, Path] | None, changed: Stage[Any] | None
    ) -> Replayed:
        """Make a step again from the stage's folder, in which nothing is changed.

        Args:
            step: counted from 1.
            start: the newest checkpoint before it, if one is kept.
            changed: the stage by other settings, to be compared with.

        Raises:
            RunError: it cannot be made again; names the steps that can.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rescored:
    """What other settings make of outputs that a stage saved.

    Attributes:
        scores: of the outputs as they are scored now.
        rows: of each task and temperature, by (task, temperature), how many outputs there are and how many of them
            changed a metric, the answer that is read, or the outcome.
        changes: a line for people on each changed output.
    """

    scores: tuple[ScoreRow, ...]
    rows: Mapping[tuple[str, float | None], tuple[int, int]]
    changes: tuple[str, ...]


@runtime_checkable
class Rescores(Protocol):
    """A stage that scores outputs which it saved, so that they can be scored again without a model."""

    def rescore(self, folder: Path, out: Path | None) -> Rescored:
        """Score what lies in the folder of a finished stage by these settings; nothing in it is changed.

        Args:
            out: where the outputs with their new scores are written, None for nowhere.

        Raises:
            DataError: these settings ask something else than was asked, so that the saved outputs are no answers.
        """
        ...


@dataclass(frozen=True, slots=True)
class Flip:
    """A question whose headline value is another for another model; of pairs the other model's comes first.

    Attributes:
        values: of the headline.
        answers: that were read, None where none was.
        prompt: as sent.
        replies: the first of each model, or the choice that it prefers.
    """

    task: str
    id: str
    temperature: float | None
    values: tuple[float, float]
    answers: tuple[str | None, str | None]
    prompt: str
    replies: tuple[str, str]

    def __str__(self) -> str:
        where = f"{self.task} {self.id}{at_temperature(self.temperature)}"
        sides = [
            f"{value:.3g} {'no answer' if answer is None else repr(answer[:60])}"
            for value, answer in zip(self.values, self.answers, strict=True)
        ]
        return f"{where}: {sides[0]} -> {sides[1]}"


@dataclass(frozen=True, slots=True)
class Compared:
    """Saved outputs of a stage beside those of others, over the questions that both answered.

    Attributes:
        differences: this stage minus each other one.
        flips: the questions whose headline value changed, what got worse first.
    """

    differences: tuple[Difference, ...]
    flips: tuple[Flip, ...]


@runtime_checkable
class Compares(Protocol):
    """A stage whose saved outputs can be compared with those of others."""

    def compared(self, folder: Path, others: Mapping[str, Path], tasks: Mapping[str, str]) -> Compared:
        """Compare what lies in the folder of a finished stage with other folders, by the names that these go by.

        Args:
            tasks: those that are known to be the same on both sides, with what the others call each; no other is
                compared.
        """
        ...


@dataclass(frozen=True, slots=True)
class SavedReply:
    """A reply that a stage saved.

    Attributes:
        question: task, instance, temperature and which of the replies to it.
        asked: what the user says in the prompt, before any template.
        thoughts: how thoughts are marked in it, None where that is not known.
    """

    question: tuple[str, str, float | None, int]
    asked: str
    text: str
    with_special: str | None = None
    thoughts: Thoughts | None = None


@runtime_checkable
class SavesReplies(Protocol):
    """A stage whose saved replies can be compared with those of others."""

    def replies(self, folder: Path) -> Sequence[SavedReply]:
        """All replies that lie in the folder of a finished stage.

        Raises:
            DataError: the stage's tasks do not ask what was answered there.
        """
        ...


@runtime_checkable
class HasIdleSettings(Protocol):
    """A stage whose components decide whether some of its settings do anything."""

    def without_use(self) -> Mapping[str, Unused]:
        """Settings that do nothing beside the components that others name, by dotted path of field names.

        What the settings alone tell is `Settings.without_use`. Those of these that are set are mistakes of the recipe.
        Reads no data.
        """


@runtime_checkable
class ReadsAhead(Protocol):
    """A stage that reads what it works on before the first stage of the run starts, so that a bad row is told today."""

    def check_data(self, context: PlanContext, stopping: Callable[[], bool]) -> None:
        """Read all rows, and look for what this machine lacks. What takes long belongs into a cache that `run` reads.

        Raises:
            DataError: a row cannot be used.
            Interrupted: `stopping` became true.
        """


@runtime_checkable
class TrainsOnRows(Protocol):
    """A stage that trains on rows which are known before it runs, so that people can look at them."""

    def batches(self, context: PlanContext, step: int) -> list[PackedBatch]:
        """The micro-batches of a step (counted from 1) as `run` would form them; no weights are loaded.

        Raises:
            RunError: the stage has no such step, or its settings leave open what is in it.
        """

    def where(self, ids: Collection[str]) -> Mapping[str, str]:
        """Where the rows of these ids stand (`file:line`); those not known are absent."""
