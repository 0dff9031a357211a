"""MATH after Minerva's examples (Hendrycks et al. 2021; OLMES `minerva_math::tulu`), and MATH-500.

The four examples are problems of MATH, whose texts are not passed on here: they come from a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from aftertrain.core.benchmark import Question, ReplyBenchmark, Row, Shots, Source
from aftertrain.core.benchmark.rows import read_rows
from aftertrain.core.errors import DataError, Unavailable, unknown
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.figures import Figure, grouped
from aftertrain.core.records import JSON, Verdict, VerificationCase
from aftertrain.core.settings import Use
from aftertrain.core.verification import isolate, shared_pool
from aftertrain.core.verifier import Verifier, verdicts_of
from aftertrain.plugins.tulu.settings import MinervaMathSettings

SUBJECTS = (
    *("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra"),
    "precalculus",
)
"""The hub's configurations."""


class MinervaMath(ReplyBenchmark[MinervaMathSettings]):
    """`exact_match_flex`: some answer of the reply is right; `exact_match`: the one in Minerva's sentence is."""

    Config = MinervaMathSettings
    task = "minerva_math"
    sources = tuple(Source("EleutherAI/hendrycks_math", subject, "test") for subject in SUBJECTS)
    short = Source("HuggingFaceH4/MATH-500", "default", "test")
    joint = " "

    @property
    def metrics(self) -> tuple[str, ...]:
        """The flexible one first, as the paper reports it."""
        return ("exact_match_flex", "exact_match")

    def figures(self) -> Sequence[Figure]:
        """Of MATH the mean of the subjects' means first, as published; of MATH-500 the mean over all questions."""
        pairs = [(grouped(micro), micro) for micro in super().figures()]
        return [figure for pair in pairs for figure in (pair if self.settings.benchmark == "math" else pair[::-1])]

    def reads(self) -> Sequence[str]:
        """That of the chosen one."""
        return super().reads() if self.settings.benchmark == "math" else (self.short.hub,)

    def rules(self) -> JSON:
        """What judges."""
        uses = (self.settings.flexible, self.settings.sentence)
        return [[use.name, use.settings.affecting()] for use in uses]

    def _questions(self) -> Iterator[Question]:
        for subject in self.settings.subjects:
            if subject not in SUBJECTS:
                raise DataError(f"task {self.task!r}: {unknown('subject of MATH', subject, SUBJECTS)}")
        chosen = self.settings.subjects or SUBJECTS
        if self.settings.benchmark == "math":
            return self._of(source for source in self.sources if source.config in chosen)
        short = replace(self.short, split=self.settings.split or self.short.split)
        every = (self.question(row, short) for row in short.rows("math_500", self.settings.data))
        return (question for question in every if question.group in chosen)

    def question(self, row: Row, source: Source) -> Question:
        """Its subject is the configuration's, which the row must not gainsay; of MATH-500 the row's own."""
        short = source.hub == self.short.hub
        said = row.text("subject") if short else row.fields.get("type", source.config)
        subject = str(said).lower().replace("&", "and").replace(" ", "_")
        if subject != source.config and (not short or subject not in SUBJECTS):
            wanted = "a subject of MATH" if short else source.config
            raise DataError(
                f"{row.where}: is of {said!r}, and {wanted} is asked for; where one file has all subjects, 'config' of "
                "the map names the column that says them as the hub's configurations do (counting_and_probability)"
            )
        solution = row.text("solution")
        text = f"Problem:\n{row.text('problem')}\n\nSolution:"
        return Question(f"{subject}/{row.number}", text, solution, solution, subject)

    def examples(self) -> Sequence[Question]:
        """Those of the file, in its order.

        Raises:
            Unavailable: no file is named.
        """
        path = self.settings.shots_path
        if path is None:
            raise Unavailable(
                f"task {self.task!r}: needs Minerva's worked examples, problems of MATH that are not passed on here: "
                "set 'shots_path' to JSON lines with 'problem' and 'solution' (OLMES's list 'Minerva:MATH'), or take "
                "shots=0"
            )
        rows = [Row(place, f"{path}:{line}", row) for place, (line, row) in enumerate(read_rows(path))]
        return [Question("", f"Problem:\n{row.text('problem')}\n\nSolution:", "", row.text("solution")) for row in rows]

    def worked(self) -> Shots[Question]:
        """The same for all subjects."""
        return Shots(
            self.examples() if self.settings.shots else (),
            self.settings.shots,
            lambda question: question.text,
            where=f"task {self.task!r}: {self.settings.shots_path}",
        )

    def judge(self, instance: Instance, text: str) -> InstanceScore:
        """One reply."""
        return self.judge_all([(instance, text)])[0]

    def judge_all(self, cases: Sequence[tuple[Instance, str]]) -> list[InstanceScore]:
        """In processes that are killed where SymPy does not end: such a reply is a `timeout`, and counted."""
        asked = [
            VerificationCase(f"{instance.id}#{place}", "", text, instance.target)
            for place, (instance, text) in enumerate(cases)
        ]
        flexible, sentence = (verdicts_of(verifier, asked) for verifier in self._verifiers)
        return [_score(best, said) for best, said in zip(flexible, sentence, strict=True)]

    @cached_property
    def _verifiers(self) -> tuple[Verifier[Any], Verifier[Any]]:
        return self._isolated(self.settings.flexible), self._isolated(self.settings.sentence)

    def _isolated(self, use: Use[Verifier[Any]]) -> Verifier[Any]:
        verifier: Verifier[Any] = self.builder.build(use)
        verifier.preflight()
        return isolate(verifier, shared_pool(self.settings.verification))


def _score(flexible: Verdict, sentence: Verdict) -> InstanceScore:
    """A sentence that could not be judged makes the reply one that could not: either number hangs on it."""
    odd = sentence if sentence.outcome not in ("scored", "unparsable") else flexible
    metrics = {"exact_match_flex": flexible.value or 0.0, "exact_match": sentence.value or 0.0}
    return InstanceScore(metrics, flexible.extracted, odd.outcome, odd.detail)
