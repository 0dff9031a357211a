"""The evaluation-task interface: what is asked of a model, and what an answer is worth.

A task subclasses the one of three classes that says what is run: `ReplyTask` (replies are drawn), `ChoiceTask` (the
log-likelihoods of given continuations), `TextTask` (the log-likelihood of whole texts). The stage runs the model, keeps
its outputs and does the statistics; a task is a pure function of its data and of these outputs, so that outputs can be
scored again without a model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, ClassVar, TypeVar

from pydantic import Field

from aftertrain.core.component import Component
from aftertrain.core.figures import Figure, mean
from aftertrain.core.generator import Sampling
from aftertrain.core.records import JSON, Completion, Message, Thoughts
from aftertrain.core.settings import Settings, Use

S = TypeVar("S", bound=Settings)


class EvalTaskSettings(Settings):
    """Settings that every built-in task has."""

    name: str | None = Field(None, description="Name of the task in reports; null takes the component's.")

    def as_suite(self) -> Mapping[str, Any] | None:
        """The rows that these settings stand for, as a suite's file says them, where one task cannot ask them all."""
        return None


def task_name(use: Use[Any]) -> str:
    """The name under which a task's scores are kept: its setting `name` if it has one, else the component's."""
    return str(getattr(use.settings, "name", None) or use.name)


@dataclass(frozen=True, slots=True)
class Choice:
    """A continuation to score.

    Attributes:
        text: as it is scored, with the space before it.
        context: what it continues in place of the instance's prompt, plain text; None continues the prompt. With it a
            task compares contexts by what follows them all (WinoGrande).
    """

    text: str
    context: str | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """One question of a task, as it is asked.

    Attributes:
        id: stable over runs; pairs the same question of two models.
        messages: the prompt as a conversation; a last assistant message is a prefill that the model continues. Of a
            `TextTask` the text that is scored.
        target: what `score` compares with.
        choices: the continuations of a `ChoiceTask`.
        chat: render `messages` with the chat template; otherwise their contents are joined as plain text.
        baseline: a context without the question, after which the choices are scored as well (PMI), or None.
        group: the subject or category that averages over groups go by; "" where the task has none.
        cluster: name of what questions share, such as a digest of their passage: those of one name are not independent,
            and intervals, tests and plans count them so. "" stands alone.
        thoughts: how the model's template marks thoughts in a reply; whoever runs the model sets it before scoring.
    """

    id: str
    messages: tuple[Message, ...]
    target: JSON
    choices: tuple[Choice, ...] = ()
    chat: bool = True
    baseline: str | None = None
    group: str = ""
    thoughts: Thoughts | None = None
    cluster: str = ""


def cluster_of(text: str | None) -> str:
    """A cluster's name by the text that its questions share; "" of none.

    >>> cluster_of("A passage.") == cluster_of(" A passage. "), cluster_of(""), cluster_of(None)
    (True, '', '')
    """
    return sha256(text.strip().encode()).hexdigest()[:12] if text and text.strip() else ""


@dataclass(frozen=True, slots=True)
class ChoiceScores:
    """Log-likelihoods of an instance's choices, in their order.

    Attributes:
        logprobs: summed log-probability (nats) of each choice's tokens.
        n_tokens: tokens of each choice.
        greedy: whether each of a choice's tokens is the likeliest where it stands.
        baseline: as `logprobs`, after `Instance.baseline` only; empty when the instance has none.
    """

    logprobs: tuple[float, ...]
    n_tokens: tuple[int, ...]
    greedy: tuple[bool, ...]
    baseline: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class TextScores:
    """Log-likelihood of a whole text, from its first token on.

    Attributes:
        logprob: summed over its tokens, in nats.
        n_tokens: its tokens.
    """

    logprob: float
    n_tokens: int


Output = Completion | ChoiceScores | TextScores
"""What a model made of an instance."""


@dataclass(frozen=True, slots=True)
class InstanceScore:
    """What one output of an instance is worth.

    Attributes:
        metrics: every metric of the task, by name.
        extracted: the answer that was read, for people, and for votes over several replies.
        outcome: a verdict's outcome (`scored`, `unparsable` …); counted and shown.
        detail: why, in a few words.
        other_rule: the first metric if the other part of the reply had been read (all of it, or what follows its
            thoughts); None where that is the same text.
        parts: what figures of the whole corpus are made of (`Figure.corpus`), by name; kept with the output.
    """

    metrics: Mapping[str, float]
    extracted: str | None = None
    outcome: str = "scored"
    detail: str = ""
    other_rule: float | None = None
    parts: Mapping[str, JSON] = field(default_factory=dict)


class EvalTask(Component[S]):
    """A benchmark; subclass `ReplyTask`, `ChoiceTask` or `TextTask`."""

    kind: ClassVar[str] = "eval_task"

    @property
    def clustered_by(self) -> str:
        """What questions of one `Instance.cluster` share, as tables call it; a class may say it as an attribute."""
        return "cluster"

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that every output gets; the first is the one that the report shows first."""

    @abstractmethod
    def instances(self) -> Sequence[Instance]:
        """The questions in a fixed order; never empty."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digest of everything that decides a score: instances, prompts, rules. Runs compare only if equal."""

    def content(self) -> str:
        """Hex digest of what decides a score beside the settings, such as the bytes of files.

        This is what the hash of a stage holds beside the settings; by default the fingerprint.
        """
        return self.fingerprint()

    @property
    def formulation(self) -> str:
        """In which of its wordings a benchmark with several is asked (`mc`, `rc` …); "" where there is one."""
        return ""

    def notes(self) -> Sequence[str]:
        """What a user should know of the task's rules before a run, a sentence each; told in plan and events."""
        return ()

    @property
    def cost(self) -> float:
        """What scoring has spent so far on models that it asks, by their prices; 0 where it asks none."""
        return 0.0

    def reads(self) -> Sequence[str]:
        """Ids on the hub of what it reads, by which sealed benchmarks are known beside their questions."""
        return ()

    def figures(self) -> Sequence[Figure]:
        """The numbers of the task, the headline first; by default each metric's mean over the questions.

        Several replies to one question are one value, so that they are never counted as independent. A task of
        subjects returns `grouped(...)` figures as well; pass@k and votes stand in `aftertrain.core.figures`.
        """
        return [mean(metric) for metric in self.metrics]


class ReplyTask(EvalTask[S]):
    """Replies are drawn and judged. `score` is total: it returns every metric for any reply."""

    @property
    def samples(self) -> int:
        """Replies that are drawn for each question."""
        return 1

    def sampling(self) -> Sampling:
        """How replies are drawn; the stage may override length and temperature."""
        return Sampling(temperature=0.0)

    @abstractmethod
    def score(self, instance: Instance, reply: Completion) -> InstanceScore:
        """Judge one reply."""

    def score_all(self, instances: Sequence[Instance], replies: Sequence[Completion]) -> list[InstanceScore]:
        """Judge replies in order; overridden where a batch is cheaper than one by one (verifiers)."""
        return [self.score(instance, reply) for instance, reply in zip(instances, replies, strict=True)]


class ChoiceTask(EvalTask[S]):
    """The choices of each instance are scored. `score` is total: it returns every metric for any finite scores.

    A task that asks what one continuation costs, such as a gold answer, has one choice.
    """

    @abstractmethod
    def score(self, instance: Instance, scores: ChoiceScores) -> InstanceScore:
        """Judge one question."""


class TextTask(EvalTask[S]):
    """The whole of each instance's text is scored, as plain text: instances say `chat=False`."""

    @abstractmethod
    def score(self, instance: Instance, scores: TextScores) -> InstanceScore:
        """Judge one text."""
