"""MMLU-Pro answered at once: the log-likelihood of the letters after five examples of the category, A_direct of F49.

OLMES's `mmlu_pro:mc::none`, plain text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from string import ascii_uppercase

from aftertrain.core.benchmark import Row, Shots, Source
from aftertrain.core.benchmark.likelihood import bits_per_byte, likeliest
from aftertrain.core.benchmark.rows import Ids, digest
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Choice, ChoiceScores, ChoiceTask, Instance, InstanceScore
from aftertrain.core.figures import Figure, grouped, mean
from aftertrain.core.records import Message
from aftertrain.plugins.unseen.settings import DirectSettings
from aftertrain.plugins.unseen.tasks import MMLUPro


@dataclass(frozen=True, slots=True)
class _Question:
    id: str
    text: str
    letters: str
    answer: int
    category: str


class MMLUProDirect(ChoiceTask[DirectSettings]):
    """`acc_raw`: the likeliest letter is right; `bits_per_byte` of the right one."""

    Config = DirectSettings
    task = MMLUPro.task
    source = MMLUPro.sources[0]

    @property
    def metrics(self) -> tuple[str, ...]:
        """As those of OLMES's tasks of letters."""
        return ("acc_raw", "bits_per_byte")

    def figures(self) -> Sequence[Figure]:
        """The mean of the categories' means first."""
        accuracy, bits = mean("acc_raw"), mean("bits_per_byte", share=False)
        return [grouped(accuracy), accuracy, bits]

    def instances(self) -> Sequence[Instance]:
        """The questions in the order of the split.

        Raises:
            DataError: a row does not fit, or a category has too few examples.
        """
        return self._instances

    def score(self, instance: Instance, scores: ChoiceScores) -> InstanceScore:
        """The likeliest letter, and what the right one costs."""
        chosen, right = likeliest(scores.logprobs), int(instance.target)
        bits = bits_per_byte(instance.choices[right].text, scores.logprobs[right])
        return InstanceScore({"acc_raw": float(chosen == right), "bits_per_byte": bits}, ascii_uppercase[chosen])

    def notes(self) -> Sequence[str]:
        """Ids that stood several times."""
        self.instances()
        return self._ids.notes()

    def reads(self) -> Sequence[str]:
        """That of its source."""
        return (self.source.hub,)

    def fingerprint(self) -> str:
        """Every request with its answer."""
        rows = [
            (i.id, i.messages[0].content, [asdict(c) for c in i.choices], i.target, i.group) for i in self._instances
        ]
        return digest(["mmlu_pro_direct", rows])

    @cached_property
    def _ids(self) -> Ids:
        return Ids()

    @cached_property
    def _instances(self) -> list[Instance]:
        unused = self._ids.unused
        scored = self._rows(self.settings.split or self.source.split)
        shots = Shots(
            self._rows("validation") if self.settings.shots else [],
            self.settings.shots,
            lambda question: question.text,
            group=lambda question: question.category,
            where=f"task {self.task!r}, split validation",
        )
        return [
            Instance(
                unused(question.id),
                (Message("user", "".join(_shown(shot) for shot in shots.before(question)) + question.text),),
                question.answer,
                choices=tuple(Choice(f" {letter}") for letter in question.letters),
                chat=False,
                group=question.category,
            )
            for question in scored
        ]

    def _rows(self, split: str) -> list[_Question]:
        source: Source = replace(self.source, split=split)
        return [_question(row) for row in source.rows(self.task, self.settings.data)]


def _question(row: Row) -> _Question:
    options = row.texts("options")
    if len(options) > MMLUPro.most:
        raise DataError(f"{row.where}: mmlu_pro has at most {MMLUPro.most} choices a question, found {len(options)}")
    listed = "".join(f"\n {letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
    return _Question(
        str(row.fields.get("question_id", row.number)),
        f"Question: {row.text('question')}{listed}\nAnswer:",
        ascii_uppercase[: len(options)],
        row.index("answer_index", len(options)),
        row.text("category"),
    )


def _shown(example: _Question) -> str:
    return f"{example.text} {example.letters[example.answer]}\n\n"
