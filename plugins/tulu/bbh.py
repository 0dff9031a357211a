"""BIG-Bench Hard with reasoning (Suzgun et al. 2022; OLMES `bbh:cot-v1::tulu` and `bbh:cot::tulu`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aftertrain.core.benchmark import Question, ReplyBenchmark, Row, Source
from aftertrain.core.benchmark.shots import curated
from aftertrain.core.errors import DataError, unknown
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.figures import Figure, grouped
from aftertrain.core.records import JSON
from aftertrain.plugins.tulu.bbh_answers import cascade, same, strict
from aftertrain.plugins.tulu.bbh_tasks import TASKS
from aftertrain.plugins.tulu.settings import BBHSettings

RELIES_ON = ("shots.json",)
CONVERTED = "refs/convert/parquet"
"""The hub's own conversion of a data set that is a script, which `datasets` does not run."""


class BBH(ReplyBenchmark[BBHSettings]):
    """`exact_match`: the answer that was read is the task's. `format`: it was announced as the examples do."""

    Config = BBHSettings
    task = "bbh"
    sources = tuple(Source("lukaemon/bbh", name, "test", CONVERTED) for name in TASKS)
    joint = " "

    @property
    def metrics(self) -> tuple[str, ...]:
        """The answer first."""
        return ("exact_match", "format")

    def figures(self) -> Sequence[Figure]:
        """The mean over all questions, as published, and beside it that of the tasks' means."""
        return [figure for micro in super().figures() for figure in (micro, grouped(micro))]

    def rules(self) -> JSON:
        """How the answer is read."""
        return [self.settings.extraction, self.settings.compat]

    def _questions(self) -> Iterator[Question]:
        """Of the chosen tasks."""
        for name in self.settings.tasks:
            if name not in TASKS:
                raise DataError(f"task {self.task!r}: {unknown('task of BBH', name, TASKS)}")
        return self._of(source for source in self.sources if source.config in (self.settings.tasks or TASKS))

    def question(self, row: Row, source: Source) -> Question:
        """The target of a worked example is its reasoning."""
        text = f"Q: {row.text('input')}\nA: Let's think step by step."
        target = row.text("target")
        return Question(f"{source.config}/{row.number}", text, target, target, source.config)

    def examples(self) -> Sequence[Question]:
        """Three of each task."""
        return [
            self.question(row, source)
            for source in self.sources
            for row in curated(__package__, "shots.json", f"STD:bbh_{source.config}")
        ]

    def header(self, question: Question) -> str:
        """What the task is about."""
        return f"{TASKS[question.group][0]}\n\n"

    def judge(self, instance: Instance, text: str) -> InstanceScore:
        """The answer by the chosen extraction."""
        compat = self.settings.compat
        announced = "So the answer is " in text
        if self.settings.extraction == "strict":
            answer = strict(text, compat=compat)
        else:
            answer, announced = cascade(text, instance.group, compat=compat)
        metrics = {
            "exact_match": float(bool(answer) and same(answer, instance.target, instance.group)),
            "format": float(announced),
        }
        return InstanceScore(metrics, extracted=answer[:200] or None, outcome="scored" if answer else "unparsable")
