"""MMLU with reasoning (Hendrycks et al. 2021; OLMES `mmlu:cot::summarize`, the row of Tülu 3's tables)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from string import ascii_uppercase

from aftertrain.core.benchmark import Question, ReplyBenchmark, Row, Source
from aftertrain.core.errors import DataError, unknown
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.figures import Figure, grouped
from aftertrain.core.records import JSON
from aftertrain.plugins.tulu.settings import MMLUCoTSettings

HEADER = (
    "The following are multiple choice questions about {}. Summarize your reasoning concisely, then conclude with "
    "'Therefore, the answer is: X' where X is one of A, B, C, or D.\n\n"
)
CHOICES = 4
_STATED = (
    re.compile(r"therefore,?\s*the\s*answer\s*is:?\s*\(?([A-D])\b", re.IGNORECASE),
    re.compile(r"answer\s*is:?\s*\(?([A-D])\b", re.IGNORECASE),
    re.compile(r"([A-D])\)?\s+is\s+correct", re.IGNORECASE),
    re.compile(r"\(([A-D])\)"),
)
"""Where a letter is looked for, one after the other; of each the first place in the text."""
_ALONE = re.compile(r"\b[A-D]\b")
_STRICT = (
    re.compile(r"(?i:therefore,?\s*the\s*answer\s*is):?\s*\(?([A-D])\b"),
    re.compile(r"(?i:answer\s*is):?\s*\(?([A-D])\b"),
    re.compile(r"\b([A-D])\)?\s+(?i:is\s+correct)"),
    _STATED[3],
)
_STRICT_ALONE = re.compile(r"\b[A-D]\b(?!['’])(?!(?<=A)\s+[a-z])")
"""The same without the known faults of the reference: a letter is upper case, whole, and no article."""


class MMLUCoT(ReplyBenchmark[MMLUCoTSettings]):
    """`exact_match`: the letter. `format`: the reply closes as it was asked to ("Therefore, the answer is: X")."""

    Config = MMLUCoTSettings
    task = "mmlu_cot"
    sources = (Source("cais/mmlu", "all", "test"),)
    stop = ("Question:",)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The letter first."""
        return ("exact_match", "format")

    def figures(self) -> Sequence[Figure]:
        """The mean of the subjects' means, as published, and beside it the mean over all questions."""
        return [figure for micro in super().figures() for figure in (grouped(micro), micro)]

    def _questions(self) -> Iterator[Question]:
        """Of the chosen subjects; ids are `subject/place`."""
        every = list(super()._questions())
        there = {question.group for question in every}
        for subject in self.settings.subjects:
            if subject not in there:
                raise DataError(f"task {self.task!r}: {unknown('subject', subject, there)}")
        counts: Counter[str] = Counter()
        for question in every:
            if not self.settings.subjects or question.group in self.settings.subjects:
                yield replace(question, id=f"{question.group}/{counts[question.group]}")
            counts[question.group] += 1

    def question(self, row: Row, source: Source) -> Question:
        """The answer is a place from 0."""
        choices = row.texts("choices")
        if len(choices) != CHOICES:
            raise DataError(f"{row.where}: column 'choices' must hold {CHOICES} texts, found {len(choices)}")
        listed = "".join(f" {letter}. {choice}\n" for letter, choice in zip(ascii_uppercase, choices, strict=False))
        letter = ascii_uppercase[row.index("answer", CHOICES)]
        return Question("", f"Question: {row.text('question')}\n{listed}", letter, group=row.text("subject"))

    def rules(self) -> JSON:
        """Without the faults a letter is another one; with them, as published, nothing is said."""
        return None if self.settings.compat else "compat: false"

    def header(self, question: Question) -> str:
        """What is asked for."""
        return HEADER.format(question.group.replace("_", " "))

    def judge(self, instance: Instance, text: str) -> InstanceScore:
        """The letter by the first of five ways that finds one."""
        letter, stated = letter_of(text, compat=self.settings.compat)
        metrics = {"exact_match": float(letter == instance.target), "format": float(stated)}
        return InstanceScore(metrics, extracted=letter, outcome="scored" if letter else "unparsable")


def letter_of(text: str, *, compat: bool = True) -> tuple[str | None, bool]:
    """The letter that a reply chooses, and whether it says so in the words that were asked for.

    The last way takes the last lone letter of the first line that has one, so that with `compat` "A is …" may be an
    article's.

    >>> letter_of("Therefore, the answer is: B"), letter_of("(C) it is, not D"), letter_of("A or B\\nC"), letter_of("")
    (('B', True), ('C', False), ('B', False), (None, False))
    """
    stated, alone = (_STATED, _ALONE) if compat else (_STRICT, _STRICT_ALONE)
    for way, pattern in enumerate(stated):
        if found := pattern.search(text):
            return found[1].upper(), way == 0
    if first := alone.search(text):
        end = text.find("\n", first.start())
        *_, last = alone.finditer(text, first.start(), len(text) if end < 0 else end)
        return last[0], False
    return None, False
