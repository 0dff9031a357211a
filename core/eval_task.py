"""The evaluation-task interface: instances, prompts, scoring. The stage runs the model and the statistics."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from aftertrain.core.component import Component
from aftertrain.core.generator import Sampling
from aftertrain.core.records import JSON, Completion, Message, Thoughts
from aftertrain.core.settings import Settings, Use

S = TypeVar("S", bound=Settings)


class EvalTaskSettings(Settings):
    """Settings that every built-in task has."""

    name: str | None = Field(None, description="Name of the task in reports; null takes the component's.")


def task_name(use: Use[Any]) -> str:
    """The name under which a task's scores are kept: its setting `name` if it has one, else the component's."""
    return str(getattr(use.settings, "name", None) or use.name)


@dataclass(frozen=True, slots=True)
class Instance:
    """One question of a task.

    Attributes:
        id: stable over runs; pairs the same question of two models.
        messages: the prompt as a conversation; a last assistant message is a prefill that the model continues.
        choices: continuations to score, for a `loglikelihood` task.
        baseline: a context without the question, under which the choices are scored as well (PMI), or None.
        target: what `EvalTask.score` compares with.
        chat: render `messages` with the chat template; otherwise their contents are joined as plain text.
        thoughts: how the model's template marks thoughts in a reply; whoever runs the model sets it before scoring.
    """

    id: str
    messages: tuple[Message, ...]
    target: JSON
    choices: tuple[str, ...] = ()
    chat: bool = True
    baseline: str | None = None
    thoughts: Thoughts | None = None


@dataclass(frozen=True, slots=True)
class ChoiceScores:
    """Log-likelihood of each choice given the prompt.

    Attributes:
        logprobs: summed log-probability (nats) of each choice's tokens.
        n_tokens: tokens of each choice.
        n_chars: characters of each choice as scored.
        baseline: as `logprobs`, given `Instance.baseline` only; empty when the instance has none.
    """

    logprobs: tuple[float, ...]
    n_tokens: tuple[int, ...]
    n_chars: tuple[int, ...]
    baseline: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceScore:
    """Scores of one instance.

    Attributes:
        metrics: every metric of the task, by name.
        extracted: the answer that was read, for people.
        outcome: a verdict's outcome (`scored`, `unparsable` …); counted and shown.
    """

    metrics: Mapping[str, float]
    extracted: str | None = None
    outcome: str = "scored"
    detail: str = field(default="")


class EvalTask(Component[S]):
    """A benchmark. `score` is total: it returns every metric for any output."""

    kind: ClassVar[str] = "eval_task"

    @property
    @abstractmethod
    def output(self) -> Literal["generate", "loglikelihood"]:
        """Whether a completion or the scores of choices are judged."""

    @property
    @abstractmethod
    def primary_metric(self) -> str:
        """The metric that the report shows first."""

    @abstractmethod
    def instances(self) -> Sequence[Instance]:
        """The questions in a fixed order; never empty."""

    @abstractmethod
    def score(self, instance: Instance, output: Completion | ChoiceScores) -> InstanceScore:
        """Judge one output."""

    def score_all(
        self, instances: Sequence[Instance], outputs: Sequence[Completion | ChoiceScores]
    ) -> list[InstanceScore]:
        """Judge outputs in order; overridden where a batch is cheaper than one by one (verifiers)."""
        return [self.score(instance, output) for instance, output in zip(instances, outputs, strict=True)]

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digest of everything that decides a score: instances, prompts, rules. Runs compare only if equal."""

    def content(self) -> str:
        """Hex digest of what decides a score beside the settings, such as the bytes of files.

        This is what the hash of a stage holds beside the settings; by default the fingerprint.
        """
        return self.fingerprint()

    def sampling(self) -> Sampling:
        """How replies are drawn, for a `generate` task; the stage may override temperature."""
        return Sampling(temperature=0.0)
