"""What benchmarks share whose replies are read: rows, worked examples as earlier turns, and which part is read.

A benchmark with a published reference reads the whole reply, as its protocol does; `answer: after_thoughts` reads what
follows the reply's thoughts. Where the two differ both are judged, so that a reader learns what hangs on it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field

from aftertrain.core.benchmark.rows import Ids, Row, digest
from aftertrain.core.benchmark.shots import Shots
from aftertrain.core.benchmark.source import BenchmarkSettings, Source
from aftertrain.core.eval_task import EvalTaskSettings, Instance, InstanceScore, ReplyTask
from aftertrain.core.generator import Sampling
from aftertrain.core.records import JSON, UNJUDGED, Completion, Message, Thoughts
from aftertrain.core.settings import PositiveInt
from aftertrain.core.text.answer import marked, split

R = TypeVar("R", bound="ReplyBenchmarkSettings")


class ReplyBenchmarkSettings(EvalTaskSettings, BenchmarkSettings):
    """Settings of a benchmark whose replies are read; a subclass sets its protocol's numbers as defaults."""

    shots: Annotated[int, Field(ge=0)] = Field(0, description="Worked examples before each question.")
    chat: bool = Field(
        True, description="Ask as a conversation, with the chat template; false joins everything to one plain text."
    )
    max_new_tokens: PositiveInt = Field(512, description="Tokens after which a reply is cut.")
    answer: Literal["protocol", "after_thoughts"] = Field(
        "protocol",
        description="Which part of a reply is read: what the published protocol reads (all of it), or what follows the "
        "reply's thoughts. Where they differ, verdicts that the other would change are counted.",
    )
    split: str | None = Field(None, description="Split that is scored; null takes the one that is reported.")


@dataclass(frozen=True, slots=True)
class Question:
    """A row, worded.

    Attributes:
        id: of the row; repeats get numbers.
        text: the turn that asks.
        target: what a reply is compared with.
        answer: what a worked example replies, after the benchmark's `prefill`.
        group: subject or category, which averages over groups and worked examples go by.
        cluster: what it shares with others, see `Instance.cluster`.
    """

    id: str
    text: str
    target: JSON
    answer: str = ""
    group: str = ""
    cluster: str = ""


class ReplyBenchmark(ReplyTask[R]):
    """A benchmark of replies: a subclass says where its rows are, how they are worded, and how a reply is read.

    Attributes:
        task: its name in a `data.yaml`.
        sources: where its rows are, one for each configuration of the hub's data set.
        prefill: with which each reply is begun.
        joint: between question and answer in the plain-text form.
        stop: strings that end a reply.
        version: raised when a rule changes what a reply is worth.
    """

    task: ClassVar[str]
    sources: ClassVar[tuple[Source, ...]]
    prefill: ClassVar[str] = ""
    joint: ClassVar[str] = "\n"
    stop: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1

    @abstractmethod
    def question(self, row: Row, source: Source) -> Question | None:
        """A row, worded; None where the benchmark leaves it out.

        Raises:
            DataError: it does not fit.
        """

    def _questions(self) -> Iterator[Question]:
        """All rows of `sources`, worded; overridden where settings choose among them."""
        return self._of(self.sources)

    def _of(self, sources: Iterable[Source]) -> Iterator[Question]:
        """All rows of these, worded."""
        for source in sources:
            chosen = replace(source, split=self.settings.split or source.split)
            for row in chosen.rows(self.task, self.settings.data):
                if (question := self.question(row, chosen)) is not None:
                    yield question

    @abstractmethod
    def judge(self, instance: Instance, text: str) -> InstanceScore:
        """What a reply's text is worth; total, with every metric. A reply without an answer is `unparsable`."""

    def judge_all(self, cases: Sequence[tuple[Instance, str]]) -> list[InstanceScore]:
        """The same for many; overridden where a batch is cheaper than one by one (verifiers, judges)."""
        return [self.judge(instance, text) for instance, text in cases]

    def examples(self) -> Sequence[Question]:
        """Worked examples, in the order in which they are shown; those of a question's own group are its own."""
        return ()

    def worked(self) -> Shots[Question]:
        """What is shown before each question: by default the first of its group, and never the question itself."""
        return Shots(
            self.examples() if self.settings.shots else (),
            self.settings.shots,
            lambda question: question.text,
            group=lambda question: question.group,
            where=f"task {self.task!r}",
        )

    def rules(self) -> JSON:
        """Settings that decide what a reply is worth, beside `answer`; runs compare only where they are equal."""
        return None

    def header(self, question: Question) -> str:
        """Text before everything: of the first turn, or of the plain text."""
        return ""

    def messages(self, question: Question, examples: Sequence[Question]) -> tuple[Message, ...]:
        """Worked examples as earlier turns, the question, and the beginning of the reply; or all as one plain text."""
        header = self.header(question)
        if not self.settings.chat:
            shown = "".join(f"{example.text}{self.joint}{self._reply(example)}\n\n" for example in examples)
            return (Message("user", f"{header}{shown}{question.text}{self.joint}{self.prefill}".rstrip(" ")),)
        turns: list[Message] = []
        for example in examples:
            turns += (Message("user", example.text), Message("assistant", self._reply(example)))
        first, *later = (*turns, Message("user", question.text))
        begun = (Message("assistant", self.prefill),) if self.prefill else ()
        return (replace(first, content=header + first.content), *later, *begun)

    def _reply(self, example: Question) -> str:
        return f"{self.prefill} {example.answer}" if self.prefill else example.answer

    def notes(self) -> Sequence[str]:
        """Ids that stood several times."""
        self.instances()
        return self._ids.notes()

    def reads(self) -> Sequence[str]:
        """Those of its sources."""
        return sorted({source.hub for source in self.sources})

    def instances(self) -> Sequence[Instance]:
        """The questions in the order of the split, configuration by configuration.

        Raises:
            DataError: a row does not fit; names file, line and column.
        """
        return self._instances

    def sampling(self) -> Sampling:
        """Greedy, with the benchmark's stops."""
        return Sampling(max_new_tokens=self.settings.max_new_tokens, temperature=0.0, stop=self.stop)

    def score(self, instance: Instance, reply: Completion) -> InstanceScore:
        """Judge one reply."""
        return self.score_all([instance], [reply])[0]

    def score_all(self, instances: Sequence[Instance], replies: Sequence[Completion]) -> list[InstanceScore]:
        """Judge the part that the settings say and, where the other one differs, that too."""
        read = [self._parts(instance, reply) for instance, reply in zip(instances, replies, strict=True)]
        cases = [(i, text) for i, texts in zip(instances, read, strict=True) for text in dict.fromkeys(texts)]
        scores = iter(self.judge_all(cases))
        return [self._with_other([next(scores) for _ in dict.fromkeys(texts)]) for texts in read]

    def _parts(self, instance: Instance, reply: Completion) -> tuple[str, str]:
        """The text that is read, and the one that the other rule would read."""
        thoughts = instance.thoughts or Thoughts()
        tags = (thoughts.opening, thoughts.closing)
        answer = split(marked(reply.text, reply.text_with_special, tags), thoughts, block=False).text or ""
        return (reply.text, answer) if self.settings.answer == "protocol" else (answer, reply.text)

    def _with_other(self, scores: Sequence[InstanceScore]) -> InstanceScore:
        first, *other = scores
        if not other or other[0].outcome in UNJUDGED:
            return first
        return replace(first, other_rule=other[0].metrics[self.metrics[0]])

    def fingerprint(self) -> str:
        """Every question as it is asked, its target, and how replies are read."""
        drawn = self.sampling()
        rules = [self.version, self.settings.answer, self.settings.chat, self.rules()]
        return digest([type(self).__name__, rules, drawn.max_new_tokens, list(drawn.stop), self._asked])

    @cached_property
    def _asked(self) -> str:
        """Digest of every question and its target: a stage's hash and each of its scores need it."""
        return digest([(i.id, [asdict(message) for message in i.messages], i.target, i.group) for i in self._instances])

    @cached_property
    def _ids(self) -> Ids:
        return Ids()

    @cached_property
    def _instances(self) -> list[Instance]:
        questions, unused = list(self._questions()), self._ids.unused
        shots = self.worked()
        return [
            Instance(
                unused(question.id),
                self.messages(question, shots.before(question)),
                question.target,
                chat=self.settings.chat,
                group=question.group,
                cluster=question.cluster,
            )
            for question in questions
        ]
