"""The tasks of one stage, made ready: which instances, under which fingerprint, in which blocks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aftertrain.core.benchmark.rows import digest
from aftertrain.core.benchmark.seal import sealed_as
from aftertrain.core.benchmark.source import with_folder
from aftertrain.core.benchmark.suite import named_tasks
from aftertrain.core.errors import DataError, MissingExtra, Unavailable
from aftertrain.core.eval_task import EvalTask, Instance, ReplyTask
from aftertrain.core.figures import Figure
from aftertrain.core.generator import Sampling
from aftertrain.core.settings import Builder, Use
from aftertrain.core.text.chat import load_tokenizer
from aftertrain.plugins.evaluation.settings import EvaluateSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SUBSET_SEED = 1234
"""The seed with which OLMES draws its subsets."""


class ReadyTask:
    """A task, and how this stage runs it."""

    def __init__(
        self,
        name: str,
        task: EvalTask[Any],
        settings: EvaluateSettings,
        limit: int | None = None,
        *,
        sealed: bool = False,
        use: Use[EvalTask[Any]] | None = None,
    ) -> None:
        self.name = name
        self._sealed = sealed
        self._use = use
        self._settings = settings
        self._own_limit = limit
        self.task = task
        self._limit = min((most for most in (settings.limit, limit) if most is not None), default=None)
        self._max_new_tokens = settings.max_new_tokens
        self._temperatures = settings.temperatures
        self.withhold_above = settings.withhold_above

    def called(self, name: str) -> ReadyTask:
        """The same by another name."""
        other = copy(self)
        other.name = name
        return other

    @property
    def shots(self) -> int:
        """Worked examples before each question, where the task has such a setting."""
        shots = None if self._use is None else getattr(self._use.settings, "shots", None)
        return shots if isinstance(shots, int) else 0

    def with_shots(self, shots: int, builder: Builder) -> ReadyTask:
        """The same with so many examples."""
        assert self._use is not None
        use: Use[EvalTask[Any]] = Use(
            self._use.kind, self._use.name, self._use.settings.model_copy(update={"shots": shots})
        )
        task = builder.build(use)
        return ReadyTask(self.name, task, self._settings, self._own_limit, sealed=self._sealed, use=use)

    @property
    def generates(self) -> bool:
        """Whether replies are made (else choices are scored)."""
        return isinstance(self.task, ReplyTask)

    @property
    def samples(self) -> int:
        """Outputs of each instance.

        Raises:
            DataError: there are several, and nothing in which they could differ.
        """
        samples = self.task.samples if isinstance(self.task, ReplyTask) else 1
        if samples > 1 and 0.0 in self.temperatures:
            raise DataError(
                f"task {self.name!r} draws {samples} replies to each question, which are all alike at temperature 0; "
                "leave the stage's 'temperatures' out, or set one above 0"
            )
        return samples

    @property
    def temperatures(self) -> tuple[float | None, ...]:
        """At which the task is run: the stage's, else the task's own; log-likelihoods have none."""
        if not isinstance(self.task, ReplyTask):
            return (None,)
        return self._temperatures or (self.task.sampling().temperature,)

    @cached_property
    def sealed(self) -> str | None:
        """The sealed benchmark that it asks, by whatever name; None where it is none."""
        return sealed_as(self.task, self.task.instances()) or (self.name if self._sealed else None)

    @cached_property
    def instances(self) -> Sequence[Instance]:
        """All of them, or a fixed random subset in the task's own order.

        Raises:
            DataError: the task has none, or two have one id.
        """
        every = self.task.instances()
        if not every:
            raise DataError(f"task {self.name!r} has no instances")
        if len({instance.id for instance in every}) < len(every):
            raise DataError(f"task {self.name!r} has two instances of one id; scores are paired by id")
        return every if self._limit is None else subset(every, self._limit)

    @cached_property
    def figures(self) -> Sequence[Figure]:
        """The task's numbers, the headline first.

        Raises:
            DataError: there is none, or two have one name.
        """
        figures = self.task.figures()
        names = [figure.name for figure in figures]
        if not names or len(set(names)) < len(names):
            raise DataError(f"task {self.name!r}: figures() must name each number once; it names {names or 'none'}")
        return figures

    @cached_property
    def sampling(self) -> Sampling:
        """The task's, with the stage's length if it has one."""
        sampling = self.task.sampling() if isinstance(self.task, ReplyTask) else Sampling(temperature=0.0)
        return (
            sampling.model_copy(update={"max_new_tokens": self._max_new_tokens}) if self._max_new_tokens else sampling
        )

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all that decides a score but model, temperature and chance; scores compare only if it is equal."""
        sampling = self.sampling.deciding if self.generates else None
        drawn = [sampling, self.samples] if self.samples > 1 else [sampling]
        return digest([self.task.fingerprint(), [instance.id for instance in self.instances], *drawn])


def subset(every: Sequence[Instance], limit: int) -> Sequence[Instance]:
    """So many of a task's questions, the same for every model, in the task's own order."""
    if limit >= len(every):
        return every
    return [every[i] for i in sorted(random.Random(SUBSET_SEED).sample(range(len(every)), limit))]


@dataclass(frozen=True, slots=True)
class Block:
    """Instances `start` … `stop`-1 of a task at one temperature: the unit of saving and of batching."""

    task: ReadyTask
    temperature: float | None
    start: int
    stop: int

    @property
    def instances(self) -> Sequence[Instance]:
        """Its instances."""
        return self.task.instances[self.start : self.stop]


@dataclass(frozen=True, slots=True)
class Absent:
    """A row of a suite that cannot be scored here.

    Attributes:
        why: what is missing, and how it is given.
    """

    name: str
    why: str


def ready_tasks(settings: EvaluateSettings, builder: Builder) -> tuple[list[ReadyTask], list[Absent]]:
    """The tasks in the recipe's order, and the rows of suites for which something is missing.

    Raises:
        Unavailable: it is missing for a task that is no row of a suite, or for every row.
    """
    ready: list[ReadyTask] = []
    absent: list[Absent] = []
    for named in named_tasks(settings.tasks):
        use = with_folder(named.use, settings.data)
        task = ReadyTask(named.name, builder.build(use), settings, named.limit, sealed=named.sealed, use=use)
        try:
            if named.suite:
                _ = task.instances
        except (Unavailable, MissingExtra) as error:
            absent.append(Absent(named.name, str(error)))
        else:
            ready.append(task)
    if absent and not ready:
        raise Unavailable(f"nothing can be scored: {'; '.join(f'{row.name}: {row.why}' for row in absent)}")
    return ready, absent


def tokenizer_of(tasks: Sequence[ReadyTask], model: str, chat_template: str | None) -> PreTrainedTokenizerBase:
    """The model's, with a chat template where a task needs one."""
    chat = any(instance.chat for task in tasks for instance in task.instances)
    return load_tokenizer(model, chat_template, needs_template=chat)


def blocks(tasks: Sequence[ReadyTask], size: int) -> list[Block]:
    """All work in its order: generative tasks first, so that generator and engine are never both in memory."""
    return [
        Block(task, temperature, start, min(start + size, len(task.instances)))
        for task in sorted(tasks, key=lambda task: not task.generates)
        for temperature in task.temperatures
        for start in range(0, len(task.instances), size)
    ]
