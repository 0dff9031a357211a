"""How OLMES words the questions and gold answers of benchmarks whose replies it reads otherwise."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from aftertrain.core.benchmark import Row, Source
from aftertrain.core.benchmark.rows import need
from aftertrain.core.benchmark.shots import curated, drawn
from aftertrain.core.errors import DataError

CONVERTED = "refs/convert/parquet"
SEED = 1234


@dataclass(frozen=True, slots=True)
class Gold:
    """A question with its answer.

    Attributes:
        text: the question up to where its answer begins.
        answer: what is scored, with what stands before it (a space, or nothing).
        group: subject.
    """

    text: str
    answer: str
    group: str = ""


class Wording(ABC):
    """A benchmark: where its rows are, which examples it shows, and how a row is worded.

    Attributes:
        task: its name in a `data.yaml`, that of its other tasks.
        shots: name of its list in `shots.json`; "" draws them from the split itself.
        given: its examples are not passed on, and come from a file that the user has.
        count: examples that OLMES shows.
        most: rows beyond which OLMES draws so many.
        header: text before everything.
        id_column: the hub's column of ids; where it has none, ids are places.
    """

    task: ClassVar[str]
    sources: ClassVar[tuple[Source, ...]]
    shots: ClassVar[str] = ""
    given: ClassVar[bool] = False
    count: ClassVar[int]
    most: ClassVar[int | None] = None
    header: ClassVar[str] = ""
    id_column: ClassVar[str] = ""

    @abstractmethod
    def gold(self, row: Row, group: str = "") -> Gold:
        """A row, worded.

        Raises:
            DataError: it does not fit.
        """

    def shown(self, row: Row) -> Gold:
        """A worked example; by default worded as a question."""
        return self.gold(row)

    def examples(self, rows: Sequence[Row], count: int) -> list[Gold]:
        """The pool of worked examples: a list, or random rows of the split, of which a question skips itself."""
        pool = curated(__package__, "shots.json", self.shots) if self.shots else drawn(rows, count, SEED, spare=1)
        return [self.shown(row) for row in pool]


class GSM8K(Wording):
    """`gsm8k` (gold_bpb): eight worked answers of Wei et al.; gold ones without marks of a calculator."""

    task = "gsm8k"
    sources = (Source("openai/gsm8k", "main", "test"),)
    shots = "STD:GSM8k"
    count = 8

    def gold(self, row: Row, group: str = "") -> Gold:
        """The data set's own solution in one line, ending as the examples do."""
        return Gold(_asked(row), f" {spoken(row.text('answer'), row.where)}")

    def shown(self, row: Row) -> Gold:
        """As it is."""
        return Gold(_asked(row), f" {row.text('answer')}")


class NaturalQuestions(Wording):
    """`naturalqs::olmes` (bpb): the first answer."""

    task = "naturalqs"
    sources = (Source("google-research-datasets/nq_open", "nq_open", "validation"),)
    shots = "OLMES:naturalqs"
    count, most = 5, 1000

    def gold(self, row: Row, group: str = "") -> Gold:
        """Of several answers the first."""
        answers = need(row.fields, "answer", list, row.where)
        if not answers or not isinstance(answers[0], str) or not answers[0]:
            raise DataError(f"{row.where}: column 'answer' must begin with a text, found {answers!r:.80}")
        return Gold(_asked(row), f" {answers[0]}")


class DROP(Wording):
    """`drop::olmes` (bpb): the first annotator's answer."""

    task = "drop"
    sources = (Source("EleutherAI/drop", "default", "validation", CONVERTED),)
    shots = "OLMES:drop"
    count, most = 5, 1000
    id_column = "query_id"
    header = (
        "The following are reading comprehension questions, where the answer to each question is either a segment of "
        "text from the corresponding passage, a number, or a date (containing any of the date, month, and/or year "
        "components). Some questions may require you to pull together information pieces from the passage and reason "
        "over them.\n\n"
    )

    def gold(self, row: Row, group: str = "") -> Gold:
        """OLMES scores a Python tuple as Python writes it: ` ('swedish',)`, where its examples have ` swedish`."""
        return Gold(_read(row), f" {tuple(_spans(row))}")

    def shown(self, row: Row) -> Gold:
        """Spans after commas."""
        return Gold(_read(row), f" {', '.join(_spans(row))}")


class HumanEval(Wording):
    """`codex_humaneval:3shot:bpb`: three other problems; as in OLMES their solutions stand one space further in."""

    task = "humaneval"
    sources = (Source("openai/openai_humaneval", "openai_humaneval", "test"),)
    count = 3
    id_column = "task_id"

    def gold(self, row: Row, group: str = "") -> Gold:
        """The reference solution."""
        solution = row.text("canonical_solution")
        return Gold(row.text("prompt"), solution if solution.startswith(("\n", " ")) else f" {solution}")

    def shown(self, row: Row) -> Gold:
        """With the space that OLMES puts before every answer."""
        return Gold(row.text("prompt"), f" {row.text('canonical_solution')}")


class MBPP(Wording):
    """`mbpp:3shot:bpb`: the description, and code in a fence."""

    task = "mbpp"
    sources = (Source("google-research-datasets/mbpp", "full", "test"),)
    shots = "OLMES:mbpp"
    count = 3
    id_column = "task_id"

    def gold(self, row: Row, group: str = "") -> Gold:
        """The reference solution with line ends of one kind."""
        code = row.text("code").replace("\r\n", "\n").rstrip()
        return Gold(f"{row.text('text')}\n```python\n", f"{code}\n```")


class Math500(Wording):
    """`minerva_math_500::olmes` (bpb): whole solutions."""

    task = "math_500"
    sources: ClassVar[tuple[Source, ...]] = (Source("HuggingFaceH4/MATH-500", "default", "test"),)
    given = True
    count = 4

    def gold(self, row: Row, group: str = "") -> Gold:
        """The reference solution."""
        return Gold(f"Problem:\n{row.text('problem')}\n\nSolution:", f" {row.text('solution')}", group)


class MinervaMath(Math500):
    """`minerva_math_SUBJECT::bpb`: MATH's seven subjects."""

    task = "minerva_math"
    sources = tuple(
        Source("EleutherAI/hendrycks_math", subject, "test")
        for subject in (
            "algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra",
            "precalculus",
        )
    )  # fmt: skip


BENCHMARKS: Mapping[str, Wording] = {
    "drop": DROP(),
    "gsm8k": GSM8K(),
    "humaneval": HumanEval(),
    "math_500": Math500(),
    "mbpp": MBPP(),
    "minerva_math": MinervaMath(),
    "naturalqs": NaturalQuestions(),
}


def spoken(solution: str, where: str) -> str:
    """A solution of GSM8K in one line: no calculator's marks, spaces around operators, the closing sentence.

    >>> spoken("She has 2+3=<<2+3=5>>5\\n#### 5", "row 1")
    'She has 2 + 3 = 5. So the answer is 5.'
    """
    body, mark, answer = solution.partition("####")
    if not mark:
        raise DataError(f"{where}: column 'answer' must have a number behind '####', found {solution!r:.80}")
    text = " ".join(re.sub(r"<<.*?>>", "", body).split())
    text = f"{text[:1].upper()}{text[1:]}"
    text = f"{text if text.endswith('.') else f'{text}.'} So the answer is {answer.strip()}."
    spaced = re.sub(r"(?<=[^ ])([-+*/=])", r" \1", text)  # a space before each operator, and one behind
    return re.sub(r"([-+*/=])", r"\1 ", spaced).replace("  ", " ")


def _asked(row: Row) -> str:
    return f"Question: {row.text('question')}\nAnswer:"


def _read(row: Row) -> str:
    return f"Passage: {row.text('passage')}\nQuestion: {row.text('question')}\nAnswer:"


def _spans(row: Row) -> list[str]:
    """The first annotator's answer: spans of the passage, or a number, or a date."""
    answer = need(row.fields, "answer", dict, row.where)
    if number := need(answer, "number", str, row.where):
        return [number]
    spans = need(answer, "spans", list, row.where)
    if spans and all(isinstance(span, str) for span in spans):
        return list(spans)
    date = need(answer, "date", dict, row.where)
    text = " ".join(need(date, part, str, row.where) for part in ("day", "month", "year")).strip()
    if not text:
        raise DataError(f"{row.where}: column 'answer' has no number, no spans and no date")
    return [text]
