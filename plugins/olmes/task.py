"""What the tasks of OLMES share: two formulations, worked examples, the subset, four ways to compare choices (F43).

Gu et al. (2024), "OLMES: A standard for language model evaluations"; rules of rendering as its code has them.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from string import ascii_uppercase
from typing import ClassVar

from aftertrain.core.benchmark import Row, Shots, Source
from aftertrain.core.benchmark.likelihood import bits_per_byte, likeliest, normalised
from aftertrain.core.benchmark.rows import Ids, digest
from aftertrain.core.benchmark.shots import curated
from aftertrain.core.eval_task import Choice, ChoiceScores, ChoiceTask, Instance, InstanceScore
from aftertrain.core.figures import Figure, mean
from aftertrain.core.records import Message
from aftertrain.plugins.olmes.settings import OlmesSettings

RELIES_ON = ("shots.json",)

ANSWER = "Answer:"
BITS = "bits_per_byte"
MOST, DRAWN, SEED = 1500, 1000, 1234
"""Rows beyond which a split is not taken whole, how many are taken of it then, and by which seed."""


@dataclass(frozen=True, slots=True)
class Question:
    """A row as OLMES words it, before choices are listed.

    Attributes:
        text: the question, with what stands before it.
        answer: which of the choices is right.
        subject: that a mean over subjects goes by.
        cluster: what it shares with others, see `Instance.cluster`.
    """

    text: str
    choices: tuple[str, ...]
    answer: int
    subject: str = ""
    cluster: str = ""


class OlmesTask(ChoiceTask[OlmesSettings]):
    """A benchmark of OLMES: a subclass says where its rows are, which examples it shows, and how a row is worded.

    Metrics are the accuracies `acc_raw`, `acc_per_token`, `acc_per_char`, `acc_uncond`, the protocol's own first, and
    `bits_per_byte` of the right choice. Of letters (`mc`) only `acc_raw` says anything.

    Attributes:
        task: its name in a `data.yaml`.
        source: where its rows are.
        shots: name of its list of worked examples in `shots.json`.
        compared: by which of the four ways its cloze formulation is scored.
        unconditional: whether its choices are scored after `Answer:` alone as well.
        repeats: whether the hub's own ids repeat.
        id_column: the hub's column of ids; where it has none, ids are places in the split, from 0.
    """

    Config = OlmesSettings
    task: ClassVar[str]
    source: ClassVar[Source]
    shots: ClassVar[str] = ""
    compared: ClassVar[str] = "per_char"
    unconditional: ClassVar[bool] = True
    repeats: ClassVar[bool] = False
    id_column: ClassVar[str] = "id"

    @abstractmethod
    def question(self, row: Row) -> Question:
        """A row, worded.

        Raises:
            DataError: it does not fit.
        """

    def examples(self) -> Sequence[Question]:
        """Worked examples, in the order in which they are shown."""
        return [self.question(row) for row in curated(__package__, "shots.json", self.shots)]

    def header(self, question: Question) -> str:
        """Text before everything."""
        return ""

    def ask(self, question: Question) -> str:
        """A question up to where its answer begins."""
        return f"{listed(question.text, question.choices) if self.letters else question.text}\n{ANSWER}"

    def answers(self, question: Question) -> tuple[str, ...]:
        """What stands for each choice behind `ask`."""
        return tuple(ascii_uppercase[: len(question.choices)]) if self.letters else question.choices

    def example(self, question: Question) -> str:
        """A worked example."""
        return f"{self.ask(question)} {self.answers(question)[question.answer]}"

    def choices(self, question: Question, before: str) -> tuple[Choice, ...]:
        """What is scored, `before` being all that stands before the question."""
        return tuple(Choice(f" {answer}") for answer in self.answers(question))

    def ids(self, rows: Sequence[Row]) -> list[str]:
        """An id for each row; of equal ones the later get numbers."""
        return [str(row.fields.get(self.id_column, row.number)) for row in rows]

    @property
    def letters(self) -> bool:
        """Whether choices are listed and their letters scored."""
        return self.settings.formulation == "mc"

    @property
    def formulation(self) -> str:
        """The setting."""
        return self.settings.formulation

    @property
    def metrics(self) -> tuple[str, ...]:
        """The protocol's own first."""
        if self.letters:
            return ("acc_raw", BITS)
        ways = ("raw", "per_token", "per_char", "uncond") if self.unconditional else ("raw", "per_token", "per_char")
        return (*(f"acc_{way}" for way in sorted(ways, key=lambda way: way != self.compared)), BITS)

    def figures(self) -> Sequence[Figure]:
        """Means over the questions; bits are no share."""
        return [mean(metric, share=metric != BITS) for metric in self.metrics]

    def notes(self) -> Sequence[str]:
        """Ids that stood several times, where the data set's own are not known to."""
        self.instances()
        return () if self.repeats else self._ids.notes()

    def reads(self) -> Sequence[str]:
        """That of its source."""
        return (self.source.hub,)

    def instances(self) -> Sequence[Instance]:
        """The questions in the order of the split, or of the subset as it is drawn.

        Raises:
            DataError: a row does not fit; names file, line and column.
        """
        return self._instances

    def score(self, instance: Instance, scores: ChoiceScores) -> InstanceScore:
        """Which choice is likeliest in each way, and what the right one costs."""
        texts = [choice.text for choice in instance.choices]
        right = int(instance.target)
        ways = normalised(texts, scores.logprobs, scores.n_tokens, scores.baseline)
        preferred = {f"acc_{way}": likeliest(values) for way, values in ways.items()}
        metrics = {name: float(preferred[name] == right) for name in self.metrics if name in preferred}
        metrics[BITS] = bits_per_byte(texts[right], scores.logprobs[right])
        choice = preferred[self.metrics[0]]
        # Where contexts are compared, all texts are one.
        name = texts[choice].strip() if len(set(texts)) > 1 else ascii_uppercase[choice]
        return InstanceScore(metrics, extracted=name)

    def fingerprint(self) -> str:
        """Every request with its answer, and how choices are compared."""
        rows = [
            (i.id, [m.content for m in i.messages], list(map(asdict, i.choices)), i.target, i.baseline, i.group, i.chat)
            for i in self._instances
        ]
        return digest([type(self).__name__, self.metrics, rows])

    @cached_property
    def _ids(self) -> Ids:
        return Ids()

    @cached_property
    def _instances(self) -> list[Instance]:
        source = replace(self.source, split=self.settings.split or self.source.split)
        rows, unused = source.rows(self.task, self.settings.data), self._ids.unused
        questions = [(unused(id_), row) for id_, row in zip(self.ids(rows), rows, strict=True)]
        if self.settings.subset and len(rows) > MOST:
            questions = [questions[place] for place in random.Random(SEED).sample(range(len(rows)), DRAWN)]
        asked = ((id_, self.question(row)) for id_, row in questions)
        shots = Shots(
            self.examples() if self.settings.shots else (),
            self.settings.shots,
            lambda question: listed(question.text, question.choices),
            group=lambda question: question.subject,
            where=f"task {self.task!r}",
        )
        worded = cache(self.example)  # the same few before all questions
        return [self._instance(id_, question, map(worded, shots.before(question))) for id_, question in asked]

    def _instance(self, id_: str, question: Question, examples: Iterable[str]) -> Instance:
        if self.settings.chat:
            return self._in_chat(id_, question, examples)
        before = self.header(question) + "".join(f"{example}\n\n" for example in examples)
        return Instance(
            id_,
            (Message("user", before + self.ask(question)),),
            question.answer,
            choices=self.choices(question, before),
            chat=False,
            baseline=ANSWER if self.unconditional and not self.letters else None,
            group=question.subject,
            cluster=question.cluster,
        )

    def _in_chat(self, id_: str, question: Question, examples: Iterable[str]) -> Instance:
        """Each example is two turns, and a letter is the reply: no space stands before it."""
        turns: list[Message] = []
        for example in examples:
            asked, _, letter = example.rpartition(" ")
            turns += (Message("user", asked), Message("assistant", letter))
        first, *later = (*turns, Message("user", self.ask(question)))
        begun = replace(first, content=self.header(question) + first.content)
        letters = tuple(Choice(letter) for letter in self.answers(question))
        return Instance(
            id_,
            (begun, *later),
            question.answer,
            choices=letters,
            chat=True,
            group=question.subject,
            cluster=question.cluster,
        )


def listed(text: str, choices: Sequence[str]) -> str:
    """A question with a line for each choice. The space before a letter makes it the token that is scored.

    >>> listed("Question: Sky?", ["blue", "red"])
    'Question: Sky?\\n A. blue\\n B. red'
    """
    return text + "".join(f"\n {letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False))
