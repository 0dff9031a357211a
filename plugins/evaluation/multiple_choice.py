"""Questions with choices, by the log-likelihood of each choice, in the two formulations of OLMES (F43).

`mcf` lists lettered choices and scores " A", " B" …; `cf` scores the text of each choice after the bare question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

from aftertrain.core.benchmark import Row
from aftertrain.core.benchmark.likelihood import likeliest, normalised
from aftertrain.core.benchmark.rows import Ids, digest, need, read_file
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Choice, ChoiceScores, ChoiceTask, Instance, InstanceScore, cluster_of
from aftertrain.core.figures import Figure, grouped
from aftertrain.core.records import Message
from aftertrain.plugins.evaluation.places import rows_of, split_of
from aftertrain.plugins.evaluation.settings import MultipleChoiceSettings

NAME = "multiple_choice"
COLUMNS: tuple[Literal["question", "choices", "answer", "id", "subject", "cluster"], ...] = (
    "question", "choices", "answer", "id", "subject", "cluster"
)  # fmt: skip
WAYS = {"none": "raw", "token": "per_token", "char": "per_char", "pmi": "uncond"}
"""What the setting `normalization` compares."""


@dataclass(frozen=True, slots=True)
class Question:
    """One row: `answer` is the index of the right choice."""

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    subject: str = ""
    cluster: str = ""


class MultipleChoice(ChoiceTask[MultipleChoiceSettings]):
    """`acc`: the likeliest choice is right. `acc_norm` (cf only): likeliest per token or character, or by PMI.

    `char` divides by the characters scored, the space before a choice included, as OLMES does (lm-eval leaves it out).
    PMI is log p(choice | prompt) − log p(choice | answer prefix alone).
    """

    Config = MultipleChoiceSettings

    @property
    def metrics(self) -> tuple[str, ...]:
        """`acc_norm` first where the text of choices of unlike length is compared."""
        if self._letters:
            return ("acc",)
        return ("acc", "acc_norm") if self.settings.normalization == "none" else ("acc_norm", "acc")

    @property
    def clustered_by(self) -> str:
        """The column's name in the file."""
        return self.settings.columns.get("cluster", "cluster")

    @property
    def formulation(self) -> str:
        """The setting."""
        return self.settings.formulation

    def figures(self) -> Sequence[Figure]:
        """Means over all questions and, where there are subjects, over the subjects' means."""
        micro = super().figures()
        subjects = {question.subject for question in self._questions}
        return [*micro, *(grouped(figure) for figure in micro)] if len(subjects) > 1 else micro

    @property
    def _letters(self) -> bool:
        return self.settings.formulation == "mcf"

    def instances(self) -> Sequence[Instance]:
        """The questions in the order of the file.

        Raises:
            DataError: a row does not fit, or a subject has too few examples; names file and line.
        """
        pmi = not self._letters and self.settings.normalization == "pmi"
        return [
            Instance(
                question.id,
                self._messages(question),
                question.answer,
                choices=tuple(Choice(f" {answer}") for answer in self._answers(question)),
                chat=self.settings.chat,
                baseline=self.settings.answer_prefix if pmi else None,
                group=question.subject,
                cluster=question.cluster,
            )
            for question in self._questions
        ]

    def score(self, instance: Instance, scores: ChoiceScores) -> InstanceScore:
        """Which choice is likeliest, raw and normalised."""
        best = likeliest(scores.logprobs)
        metrics = {"acc": float(best == instance.target)}
        if not self._letters:
            texts = [choice.text for choice in instance.choices]
            ways = normalised(texts, scores.logprobs, scores.n_tokens, scores.baseline)
            metrics["acc_norm"] = float(likeliest(ways[WAYS[self.settings.normalization]]) == instance.target)
        return InstanceScore(metrics, extracted=instance.choices[best].text.strip())

    def fingerprint(self) -> str:
        """Questions, examples and prompt form, wherever they lay."""
        places = {"name", "hub", "config", "split", "shots_split", "columns", "index_from"}
        rules = {key: value for key, value in self.settings.affecting().items() if key not in places}
        rows = [
            (instance.id, self._text(question), [choice.text for choice in instance.choices], instance.target)
            for instance, question in zip(self.instances(), self._questions, strict=True)
        ]
        return digest(["multiple_choice", rows, rules])

    def content(self) -> str:
        """Questions, and the examples where some are shown."""
        examples = self._examples if self.settings.shots else []
        return digest([[asdict(question) for question in group] for group in (self._questions, examples)])

    def reads(self) -> Sequence[str]:
        """The data set, where one is named."""
        return () if self.settings.hub is None else (self.settings.hub,)

    @cached_property
    def _ids(self) -> Ids:
        return Ids()

    @cached_property
    def _questions(self) -> list[Question]:
        return self._read(rows_of(self.settings, NAME), self._ids)

    @cached_property
    def _examples(self) -> list[Question]:
        path, split = self.settings.shots_path, self.settings.shots_split
        if path is not None:
            return self._read(read_file(Path(path)), Ids())
        return [] if split is None else self._read(split_of(self.settings, split, NAME), Ids())

    @cached_property
    def _by_subject(self) -> Mapping[str, list[Question]]:
        pools: dict[str, list[Question]] = {}
        for example in self._examples if self.settings.shots else []:
            pools.setdefault(example.subject, []).append(example)
        return pools

    def _shots(self, question: Question) -> list[Question]:
        """The first examples of a question's subject, never the question itself: where too few are left, one fewer."""
        wanted, pool = self.settings.shots, self._by_subject.get(question.subject, [])
        if len(pool) < wanted:
            subject = f" of subject {question.subject!r}" if question.subject else ""
            place = self.settings.shots_path or f"{self.settings.hub}, split {self.settings.shots_split}"
            raise DataError(f"{place}: {wanted} examples{subject} are needed, there are {len(pool)}")
        asked = (question.question, question.choices)
        return [example for example in pool if (example.question, example.choices) != asked][:wanted]

    def notes(self) -> Sequence[str]:
        """Ids that stood several times, and questions among their own examples, of which there are no others."""
        short = sum(len(self._shots(question)) < self.settings.shots for question in self._questions)
        if not short:
            return self._ids.notes()
        return (
            *self._ids.notes(),
            f"{short:,} of {len(self._questions):,} questions stand among their examples and are shown fewer",
        )

    def _read(self, rows: Sequence[Row], ids: Ids) -> list[Question]:
        return [self._question(row, ids) for row in rows]

    def _question(self, row: Row, ids: Ids) -> Question:
        names = {column: self.settings.columns.get(column, column) for column in COLUMNS}
        text = row.text(names["question"])
        value = need(row.fields, names["choices"], (list, dict), row.where)
        choices, labels = _choices(value, row.where)
        answer = _index(row.fields.get(names["answer"]), choices, labels, self.settings.index_from, row.where)
        subject = str(row.fields.get(names["subject"]) or "")
        id_ = ids.of({"id": row.fields.get(names["id"])}, "\n".join([subject, text, *choices]))
        shared = row.fields.get(names["cluster"])
        return Question(id_, text, choices, answer, subject, cluster_of(None if shared is None else str(shared)))

    def _answers(self, question: Question) -> Sequence[str]:
        return ascii_uppercase[: len(question.choices)] if self._letters else question.choices

    def _ask(self, question: Question) -> str:
        listed = zip(ascii_uppercase, question.choices, strict=False)
        lines = "".join(f"\n {letter}. {choice}" for letter, choice in listed) if self._letters else ""
        return f"{self.settings.question_prefix}{question.question}{lines}"

    def _text(self, question: Question) -> str:
        """Everything before the answer, the answer prefix left out."""
        prefix = self.settings.answer_prefix
        shots = "".join(
            f"{self._ask(shot)}\n{prefix} {self._answers(shot)[shot.answer]}\n\n" for shot in self._shots(question)
        )
        description = self.settings.description.replace("{subject}", question.subject.replace("_", " "))
        return f"{description}{shots}{self._ask(question)}"

    def _messages(self, question: Question) -> tuple[Message, ...]:
        text, prefix = self._text(question), self.settings.answer_prefix
        if self.settings.chat:
            return (Message("user", text), Message("assistant", prefix))
        return (Message("user", f"{text}\n{prefix}"),)


def _choices(value: Any, where: str) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Choices, and their labels where they have some: a list of texts, or `{"text": […], "label": […]}`."""
    texts, labels = (value.get("text"), value.get("label")) if isinstance(value, dict) else (value, None)
    if (
        not isinstance(texts, list)
        or not 2 <= len(texts) <= len(ascii_uppercase)
        or not all(isinstance(text, str) and text for text in texts)
    ):
        raise DataError(f"{where}: field 'choices' must hold 2 to {len(ascii_uppercase)} non-empty texts")
    if labels is None:
        return tuple(texts), None
    if not isinstance(labels, list) or len(labels) != len(texts) or len(set(map(str, labels))) < len(labels):
        raise DataError(f"{where}: field 'choices': {len(texts)} texts need as many different labels")
    return tuple(texts), tuple(map(str, labels))


def _index(answer: Any, choices: Sequence[str], labels: Sequence[str] | None, first: int, where: str) -> int:
    """A label; without labels the text of one choice, or else a letter, or a number, which may be written in digits."""
    if labels is not None:
        if str(answer) in labels:
            return labels.index(str(answer))
        raise DataError(f"{where}: field 'answer' must be one of the labels {', '.join(labels)}; found {answer!r}")
    if isinstance(answer, str) and choices.count(answer) == 1:
        return choices.index(answer)
    if isinstance(answer, str) and len(answer) == 1 and answer.upper() in ascii_uppercase[: len(choices)]:
        return ascii_uppercase.index(answer.upper())
    if isinstance(answer, str) and answer.isascii() and answer.isdigit():
        answer = int(answer)
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer - first < len(choices):
        return answer - first
    raise DataError(
        f"{where}: field 'answer' must be an index from {first}, a letter, or one of the choices; found {answer!r}"
    )
