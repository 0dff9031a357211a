"""Questions with choices, by the log-likelihood of each choice, in the two formulations of OLMES (F43).

`mcf` lists lettered choices and scores " A", " B" …; `cf` scores the text of each choice after the bare question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from string import ascii_uppercase
from typing import Any

from aftertrain.core.benchmark.likelihood import likeliest, normalised
from aftertrain.core.benchmark.rows import Ids, digest, need, read_rows
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Choice, ChoiceScores, ChoiceTask, Instance, InstanceScore
from aftertrain.core.figures import Figure, grouped
from aftertrain.core.records import Message
from aftertrain.plugins.evaluation.settings import MultipleChoiceSettings

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
        """Questions, examples and prompt form."""
        rules = {key: value for key, value in self.settings.affecting().items() if key != "name"}
        rows = [
            (instance.id, self._text(question), [choice.text for choice in instance.choices], instance.target)
            for instance, question in zip(self.instances(), self._questions, strict=True)
        ]
        return digest(["multiple_choice", rows, rules])

    def content(self) -> str:
        """Questions, and the examples where some are shown."""
        examples = self._examples if self.settings.shots else {}
        return digest([[asdict(question) for question in group] for group in (self._questions, *examples.values())])

    @cached_property
    def _questions(self) -> list[Question]:
        return _read(self.settings.path)

    @cached_property
    def _examples(self) -> Mapping[str, list[Question]]:
        grouped: dict[str, list[Question]] = {}
        for example in _read(self.settings.shots_path) if self.settings.shots_path else []:
            grouped.setdefault(example.subject, []).append(example)
        return grouped

    def _shots(self, question: Question) -> list[Question]:
        if not self.settings.shots:
            return []
        there = self._examples.get(question.subject, [])
        if len(there) < self.settings.shots:
            subject = f" of subject {question.subject!r}" if question.subject else ""
            raise DataError(
                f"{self.settings.shots_path}: {self.settings.shots} examples{subject} are needed, "
                f"there are {len(there)}"
            )
        return there[: self.settings.shots]

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


def _read(path: str) -> list[Question]:
    ids, found = Ids(), []
    for number, row in read_rows(path):
        where = f"{path}:{number}"
        question, choices = need(row, "question", str, where), need(row, "choices", list, where)
        if not 2 <= len(choices) <= len(ascii_uppercase) or not all(isinstance(c, str) and c for c in choices):
            raise DataError(f"{where}: field 'choices' must hold 2 to {len(ascii_uppercase)} non-empty texts")
        answer = _index(row.get("answer"), choices, where)
        subject = str(row.get("subject") or "")
        text = "\n".join([subject, question, *choices])
        found.append(Question(ids.of(row, text), question, tuple(choices), answer, subject))
    if not found:
        raise DataError(f"{path}: no questions")
    return found


def _index(answer: Any, choices: Sequence[str], where: str) -> int:
    """An index from 0, the text of one choice, or else a letter."""
    if isinstance(answer, str) and choices.count(answer) == 1:
        return choices.index(answer)
    if isinstance(answer, str) and len(answer) == 1 and answer.upper() in ascii_uppercase[: len(choices)]:
        return ascii_uppercase.index(answer.upper())
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    raise DataError(
        f"{where}: field 'answer' must be an index from 0, a letter, or one of the choices; found {answer!r}"
    )
