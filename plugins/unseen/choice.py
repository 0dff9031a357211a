"""Questions with lettered choices that a reply reasons about: the prompt of Tülu 3's unseen suite (its Figure 44).

The same sentence stands before and behind the question. Wording and line breaks are those of OLMES's configurations
`…:0shot_cot::tulu3`, which differ from task to task.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import ClassVar

from aftertrain.core.benchmark import Question, ReplyBenchmark, Row, Source
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.figures import Figure, grouped
from aftertrain.core.records import JSON
from aftertrain.plugins.unseen.reading import Cascade, read
from aftertrain.plugins.unseen.settings import LetterSettings

MATCH, FORM = "exact_match", "answer_format_correct"


@dataclass(frozen=True, slots=True)
class Item:
    """A row, before it is worded.

    Attributes:
        text: what stands before the choices.
        answer: the place of the right one.
        group: what averages over groups go by.
        cluster: what it shares with others.
    """

    id: str
    text: str
    choices: Sequence[str]
    answer: int
    group: str
    cluster: str = ""


class LetterTask(ReplyBenchmark[LetterSettings]):
    """`exact_match`: the letter that the reply chooses is right. `answer_format_correct`: it was given as asked (1),
    in another sentence (0.5), or had to be guessed at (0), as OLMES grades it.

    Attributes:
        letters: how the prompt lists what an answer may be.
        most: choices that a question may have.
        gap: between the last choice and the closing sentence.
        cascade: how a reply is read.
        strict: the same without the known faults of the reference (`compat: false`).
        macro: whether the mean of the groups' means is the number that is published.
    """

    Config = LetterSettings
    letters: ClassVar[str] = "(A), (B), (C), (D), (E), etc."
    most: ClassVar[int]
    gap: ClassVar[str]
    cascade: ClassVar[Cascade]
    strict: ClassVar[Cascade]
    macro: ClassVar[bool] = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """The match first."""
        return (MATCH, FORM)

    def figures(self) -> Sequence[Figure]:
        """Means over groups and over questions, the published one first."""
        match, form = super().figures()
        if not any(instance.group for instance in self.instances()):
            return [match, form]
        return [grouped(match), match, form] if self.macro else [match, grouped(match), form]

    def judge(self, instance: Instance, text: str) -> InstanceScore:
        """The step that found the letter is the detail."""
        found = read(self.cascade if self.settings.compat else self.strict, text)
        if found is None:
            return InstanceScore({MATCH: 0.0, FORM: 0.0}, None, "unparsable", "no letter")
        right = float(found.letter == instance.target)
        return InstanceScore({MATCH: right, FORM: found.form}, found.letter, detail=found.step)

    def rules(self) -> JSON:
        """Without the faults a letter is another one; with them, as published, nothing is said."""
        return None if self.settings.compat else "compat: false"

    @abstractmethod
    def item(self, row: Row, source: Source) -> Item:
        """A row, before it is worded.

        Raises:
            DataError: it does not fit.
        """

    def question(self, row: Row, source: Source) -> Question:
        """The question with its choices between the two sentences."""
        item = self.item(row, source)
        if len(item.choices) > self.most:
            raise DataError(
                f"{row.where}: {self.task} has at most {self.most} choices a question, found {len(item.choices)}"
            )
        lines = "\n".join(f" ({letter}) {text}" for letter, text in zip(ascii_uppercase, item.choices, strict=False))
        closing = f'"Therefore, the answer is (ANSWER_LETTER)" where (ANSWER_LETTER) is one of {self.letters}'
        text = (
            "Answer the following multiple-choice question by giving the correct answer letter in parentheses. "
            f"Provide CONCISE reasoning for the answer, and make sure to finish the response with {closing}\n\n"
            f"{item.text}\n{lines}{self.gap}"
            f"Answer the above question and REMEMBER to finish your response with the exact phrase {closing}"
        )
        return Question(item.id, text, ascii_uppercase[item.answer], group=item.group, cluster=item.cluster)
