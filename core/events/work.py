"""What a stage tells of its work: progress, figures, replies, rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aftertrain.core.events.event import Event, flat


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """How far a stage is.

    Attributes:
        done: so many.
        total: of so many, None where that is not known.
        unit: of what: `steps`, `instances`, `rows tokenised`.
    """

    event: ClassVar[str] = "progress"
    done: int
    total: int | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Metrics(Event):
    """Figures of a step.

    Attributes:
        values: by name; one that is not finite is written as the text `nan`, `inf` or `-inf`.
        timing: `seconds` of the step, `tokens_per_second`, and seconds of its parts.
    """

    event: ClassVar[str] = "metrics"
    values: Mapping[str, float] = flat()
    timing: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SampleVerdict:
    """A verifier's word on a sampled reply.

    Attributes:
        verifier: its name, or the task's.
        outcome: of the verdict.
        value: None where it could not be judged.
        extracted: the answer that was found.
        detail: the rule that decided.
        reward: what the verdict earns by itself, before parts are put together and weighed; None where it is not known.
    """

    verifier: str
    outcome: str = ""
    value: float | None = None
    extracted: str | None = None
    detail: str = ""
    reward: float | None = None


@dataclass(frozen=True, slots=True)
class Sample(Event):
    """A reply that is shown.

    Attributes:
        prompt: in text.
        response: without special tokens.
        reward: what it earned.
        verdicts: on it.
        id: of the reply.
        task: of an evaluation.
        temperature: it was sampled at.
        finish_reason: `stop` or `length`.
        tokens: its length.
        base: the reward model's score.
        earned: the reward before it was normalised.
        shaping: verdicts of the verifiers that shape it.
        response_with_special: with special tokens, where it differs.
        problem: id of the problem that it answers.
        source: data set of the problem.
        parts: what each part of the reward added to `earned`, by name: verification, a reward model, shaping of form
            and length.
        advantage: mean of the advantages of its tokens, as the loss saw them; None where it was not learnt from.
        state: in which the reply ended in the stage's books.
    """

    event: ClassVar[str] = "sample"
    prompt: str
    response: str
    reward: float | None = None
    verdicts: tuple[SampleVerdict, ...] = ()
    id: str = ""
    task: str = ""
    temperature: float | None = None
    finish_reason: str = ""
    tokens: int | None = None
    base: float | None = None
    earned: float | None = None
    shaping: tuple[SampleVerdict, ...] = ()
    response_with_special: str | None = None
    problem: str = ""
    source: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    advantage: float | None = None
    state: str = ""


@dataclass(frozen=True, slots=True)
class VerdictCounts(Event):
    """Verdicts of a step.

    Attributes:
        counts: by verifier (or task) and outcome.
    """

    event: ClassVar[str] = "verdicts"
    counts: Mapping[str, Mapping[str, int]] = flat()


@dataclass(frozen=True, slots=True)
class Dropped(Event):
    """Rows were left out, or cut.

    Attributes:
        counts: by reason.
        examples: some of their ids.
    """

    event: ClassVar[str] = "dropped"
    counts: Mapping[str, int] = flat()
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alarm(Event):
    """Something goes wrong in training that is no error (see `core.learning.alarms`); told once until it clears.

    Attributes:
        name: by which the documentation explains it.
        message: what is wrong, with the figures.
        advice: what to look at, and what to do.
        cleared: the alarm is over.
    """

    event: ClassVar[str] = "alarm"
    name: str
    message: str
    advice: str = ""
    cleared: bool = False


@dataclass(frozen=True, slots=True)
class Skipped(Event):
    """A step left the weights as they were.

    Attributes:
        message: why.
    """

    event: ClassVar[str] = "skipped"
    message: str


@dataclass(frozen=True, slots=True)
class Balance:
    """What became of one unit's occurrences.

    Attributes:
        owed: occurrences.
        states: how many ended in each.
        tokens: by what became of them; empty where the stage entered none.
    """

    owed: int
    states: Mapping[str, int]
    tokens: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Books(Event):
    """A stage's books are closed and balance (see `core.book`).

    Attributes:
        units: by name.
    """

    event: ClassVar[str] = "ledger"
    units: Mapping[str, Balance] = flat()


@dataclass(frozen=True, slots=True)
class SourceRows:
    """What one data set gave.

    Attributes:
        atoms: rows that were kept.
        tokens: in them.
        targets: tokens that are learnt.
    """

    atoms: int
    tokens: int
    targets: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """A histogram of the segments' lengths, in tokens.

    Attributes:
        width: of a bar; bar i counts the lengths in `[i * width, (i + 1) * width)`.
        counts: of the bars.
        mean: of the lengths.
        least: of them.
        median: of them.
        p95: 95 % are no longer.
        greatest: of them.
    """

    width: int
    counts: tuple[int, ...]
    mean: float
    least: int
    median: int
    p95: int
    greatest: int


@dataclass(frozen=True, slots=True)
class Packing:
    """How full the micro-batches of the first steps are.

    Attributes:
        steps: that were looked at.
        budget: tokens of a micro-batch.
        micro_batches: in these steps.
        filled: share of their budget that holds tokens.
        padding: share of positions that would be padding if each were padded to its longest segment.
    """

    steps: int
    budget: int
    micro_batches: int
    filled: float
    padding: float


@dataclass(frozen=True, slots=True)
class RowsTrained(Event):
    """The rows that a stage trains on, over one pass.

    Attributes:
        rows: of the data.
        kept: of them.
        segments: packed sequences, two of a pair.
        tokens: in these.
        targets: tokens that are learnt.
        sources: the same by data set.
        lengths: of the segments.
        packing: of the first steps.
    """

    event: ClassVar[str] = "rows"
    rows: int
    kept: int
    segments: int
    tokens: int
    targets: int
    sources: Mapping[str, SourceRows] = field(default_factory=dict)
    lengths: Lengths | None = None
    packing: Packing | None = None


@dataclass(frozen=True, slots=True)
class Saved(Event):
    """What was checked of the folder that a training stage leaves (see `core.learning.saved`).

    Attributes:
        kind: `model` or `adapter`.
        names: weights that plain transformers (or peft) asks for; each was found, and nothing else.
        tensors: tensors in the files, whose bits are the engine's.
        dtype: of the files.
        files: names of the files with weights.
        rows: of the stage, scored by a second copy; 0 where none was made.
        tokens: in them.
        difference: mean difference of a token's score between the copy and the engine.
        tolerance: what it may be.
        left_out: why no second copy was made.
    """

    event: ClassVar[str] = "saved"
    kind: str
    names: int
    tensors: int
    dtype: str = ""
    files: tuple[str, ...] = ()
    rows: int = 0
    tokens: int = 0
    difference: float | None = None
    tolerance: float | None = None
    left_out: str = ""
