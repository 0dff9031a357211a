"""DeepMind Mathematics (Saxton et al. 2019) as Tülu 3 asks it: 56 categories of 100 questions, worked through in words.

The prompt is the paper's Figure 45 (`v3`): three answers of the question's category show what an answer looks like.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from aftertrain.core.benchmark import Question, ReplyBenchmark, Row, Source
from aftertrain.core.benchmark.rows import read_file
from aftertrain.core.benchmark.shots import curated
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.figures import Figure, grouped
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Settings
from aftertrain.core.verification import isolate, shared_pool
from aftertrain.core.verifier import Verifier, verdicts_of
from aftertrain.plugins.unseen.categories import CATEGORIES
from aftertrain.plugins.unseen.choice import FORM, MATCH
from aftertrain.plugins.unseen.closing import Closing, closing
from aftertrain.plugins.unseen.equality import Equality, same_text
from aftertrain.plugins.unseen.settings import DeepMindSettings

RELIES_ON = ("answers.json",)

SEED = 1234
SHOWN = 3
"""Sample answers in a prompt."""
_PHRASE = '"Therefore, the final answer is {}. I hope it is correct."'
_FORMATS = """\
Note the formatting for the following answer types:
- If the answer is a list (e.g., when there are two solutions to an equation), unless otherwise specified, present the \
solutions in a list separated by commas ordering them from the smallest to biggest  e.g.: 2, 10
- Powers should be written with **, for instance x to the power of 2 should be written as x**2
- Use * for multiplication, e.g.: 2*x"""
_FRACTIONS = "\n- For fractions, separate the numerator and denominator with a slash (/) e.g.: -2/7"


class DeepMindMath(ReplyBenchmark[DeepMindSettings]):
    """`exact_match`: the answer is the right one, as text, as yes or no for true or false, or as SymPy's expression.

    `answer_format_correct`: it closes the reply as asked (1), another sentence states it (0.5), or the whole reply was
    taken for it (0). A whole reply that is not the answer is `unparsable`.
    """

    Config = DeepMindSettings
    task = "deepmind_math"
    sources = tuple(
        Source("deepmind/math_dataset", category, "test", "refs/convert/parquet") for category in CATEGORIES
    )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The match first."""
        return (MATCH, FORM)

    def figures(self) -> Sequence[Figure]:
        """The mean of the categories' means first, as published."""
        match, form = super().figures()
        return [grouped(match), match, form]

    def question(self, row: Row, source: Source) -> Question:
        """The question, and how to close a reply."""
        asked, answer = (self._text(row, column) for column in ("question", "answer"))
        text = f"Solve the following math problem efficiently:\n{asked}\n\n{self._closing(source.config)}"
        return Question(f"{source.config}/{row.number}", text, answer, group=source.config)

    def judge(self, instance: Instance, text: str) -> InstanceScore:
        """Judge one reply."""
        return self.judge_all([(instance, text)])[0]

    def judge_all(self, cases: Sequence[tuple[Instance, str]]) -> list[InstanceScore]:
        """Texts are compared here, and what is left open by SymPy in processes that can be killed."""
        closings = [closing(text, self.settings.prompt) for _, text in cases]
        equal = [same_text(str(i.target), found.answer) for (i, _), found in zip(cases, closings, strict=True)]
        left = [place for place, known in enumerate(equal) if known is None]
        asked = [VerificationCase(str(p), "", closings[p].answer, str(cases[p][0].target)) for p in left]
        verdicts = dict(zip(left, verdicts_of(self._equality, asked), strict=True))
        return [
            _score(found, verdicts.get(place) or Verdict.scored(float(bool(equal[place]))))
            for place, found in enumerate(closings)
        ]

    @cached_property
    def _equality(self) -> Verifier[Any]:
        return isolate(Equality(Settings(), self.builder), shared_pool(self.settings.verification))

    def _closing(self, category: str) -> str:
        begun = (
            f"Show your work and conclude with the exact phrasing {_PHRASE.format('[answer]')} where [answer] is just "
        )
        if self.settings.prompt == "v0":
            return (
                f"{begun}the final number or expression that solves the problem. E.g., if the answer is 6, conclude "
                f"with {_PHRASE.format('6')}\n{_FORMATS}"
            )
        lines = "\n".join(
            f"- If the answer is {answer}, conclude with {_PHRASE.format(answer)}" for answer in self._answers[category]
        )
        return (
            f"{begun}the final number, expression, or answer label representing the solution.  Some example answers "
            f"from this question category:\n{lines}\n\n{_FORMATS}{_FRACTIONS}"
        )

    @cached_property
    def _answers(self) -> Mapping[str, tuple[str, ...]]:
        path = self.settings.answers
        rows = curated(__package__, "answers.json", "OLMES:deepmind_math") if path is None else read_file(Path(path))
        answers = {row.text("category"): row.texts("answers") for row in rows}
        for category in CATEGORIES:
            if len(answers.get(category, ())) != SHOWN:
                raise DataError(f"{path or 'answers.json'}: {SHOWN} answers of category {category!r} are needed")
        return answers

    def _text(self, row: Row, column: str) -> str:
        """A text of the data set, which has some as the text of Python bytes: `b'…\\n'`."""
        text = row.text(column)
        if self.settings.compat:  # the form with double quotes, of questions with an apostrophe, stays
            return re.sub(r"\\n'$", "", re.sub(r"^b'", "", text)).strip()
        if text.startswith(("b'", 'b"')):
            try:
                return bytes(ast.literal_eval(text)).decode().strip()
            except (SyntaxError, TypeError, ValueError) as error:
                raise DataError(f"{row.where}: column {column!r} is no text of bytes: {text!r:.80}") from error
        return text.strip()

    def _questions(self) -> Iterator[Question]:
        most = self.settings.per_category
        for source in self.sources:
            chosen = replace(source, split=self.settings.split or source.split)
            rows = chosen.rows(self.task, self.settings.data)
            if most is not None and len(rows) > most:
                rows = random.Random(SEED).sample(rows, most)
            yield from (self.question(row, chosen) for row in rows)


def _score(found: Closing, verdict: Verdict) -> InstanceScore:
    match = verdict.value or 0.0
    outcome = "unparsable" if found.form == 0.0 and verdict.value == 0.0 else verdict.outcome
    detail = found.step if verdict.outcome == "scored" else f"{found.step}: {verdict.detail}"
    return InstanceScore({MATCH: match, FORM: found.form}, found.answer[:200] or None, outcome, detail)
