"""GSM8K as Tülu 3 evaluates it (OLMES `gsm8k::tulu`; Cobbe et al. 2021, examples of Wei et al. 2022).

Eight worked examples are earlier turns of the conversation, each answer ending "So the answer is N."; the reply is
begun with `Answer:`. The score reads the last number of the reply.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from aftertrain.core.benchmark import Question, ReplyBenchmark, Row, Source
from aftertrain.core.benchmark.rows import digest, read_rows
from aftertrain.core.benchmark.shots import curated
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.generator import Sampling
from aftertrain.core.records import Completion, Problem, Thoughts
from aftertrain.core.text import numeral
from aftertrain.core.text.answer import marked, split
from aftertrain.core.text.notation import latex
from aftertrain.core.text.numeral import Numeral
from aftertrain.plugins.evaluation.settings import GSM8KSettings

_LAST = re.compile(r"[-+]?\d*\.\d+|\d+")
_STATED = re.compile(r"(?:answer is|####)\s*:?\s*\\?\$?-?\\?\$?([\d,]*\.?\d+)", re.IGNORECASE)


RELIES_ON = ("wei_shots.json",)


class GSM8K(ReplyBenchmark[GSM8KSettings]):
    """Three readings of one reply.

    `exact_match` (Tülu 3's): the last number with its commas removed, sign of integers dropped, equal as text; of the
    whole reply, as published, unless `answer` says otherwise. The others read what follows the reply's thoughts.
    `flexible`: the last number whole (`core/text/numeral.py`), equal in value. `strict`: the number stated as "the
    answer is N" (or `#### N`), equal in value; below `exact_match` it tells how many replies left the form.
    """

    Config = GSM8KSettings
    task = "gsm8k"
    sources = (Source("openai/gsm8k", "main", "test"),)
    prefill = "Answer:"
    stop = ("Question:", "</s>", "<|im_end|>")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Tülu 3's reading first."""
        return ("exact_match", "flexible", "strict")

    def sampling(self) -> Sampling:
        """Greedy, 512 tokens, Tülu 3's stops; the plain-text form also stops at an empty line."""
        stop = self.settings.stop
        if stop is None:
            stop = self.stop if self.settings.chat else (*self.stop, "\n\n")
        return super().sampling().model_copy(update={"stop": stop})

    def question(self, row: Row, source: Source) -> Question:
        """The truth is what stands after `####`."""
        asked, truth = row.text("question"), row.text("answer").split("####")[-1].strip()
        if last_number(truth) is None:
            raise DataError(f"{row.where}: field 'answer' has no number after '####': {truth!r:.80}")
        named = row.fields.get("id")
        return _question(digest(asked)[:16] if named is None else str(named), asked, truth)

    def examples(self) -> Sequence[Question]:
        """Those of Wei et al., in their order."""
        rows = curated(__package__, "wei_shots.json", "STD:GSM8k")
        return [replace(_question("", row.text("question"), ""), answer=row.text("answer")) for row in rows]

    def judge(self, instance: Instance, text: str) -> InstanceScore:
        """By the last number; a reply without one is `unparsable` and scores 0."""
        last = last_number(text)
        right = float(last is not None and last == last_number(str(instance.target)))
        return InstanceScore({"exact_match": right}, last, "unparsable" if last is None else "scored")

    def score_all(self, instances: Sequence[Instance], replies: Sequence[Completion]) -> list[InstanceScore]:
        """Read each reply in all three ways."""
        read = zip(super().score_all(instances, replies), instances, replies, strict=True)
        return [replace(score, metrics={**score.metrics, **_by_value(i, reply)}) for score, i, reply in read]

    def _questions(self) -> Iterator[Question]:
        if self.settings.problems is not None:
            yield from self._of_problems()
        elif self.settings.path is not None:
            rows = read_rows(self.settings.path)
            if not rows:
                raise DataError(f"{self.settings.path}: no questions")
            for place, (line, fields) in enumerate(rows):
                yield self.question(Row(place, f"{self.settings.path}:{line}", fields), self.sources[0])
        else:
            yield from super()._questions()

    def _of_problems(self) -> Iterator[Question]:
        assert self.settings.problems is not None
        name, found = self.settings.problems.name, False
        for problem in self.builder.build(self.settings.problems):
            if not isinstance(problem, Problem) or len(problem.checks) != 1:
                raise DataError(f"data set {name!r}: gsm8k needs Problem records with one check each")
            truth = str(problem.checks[0].ground_truth)
            if last_number(truth) is None:
                raise DataError(f"problem {problem.id!r}: gsm8k needs a number as ground truth, found {truth!r:.80}")
            if len(problem.prompt) != 1:
                raise DataError(f"problem {problem.id!r}: gsm8k needs one question, found {len(problem.prompt)} turns")
            found = True
            yield _question(problem.id, problem.prompt[0].content, truth)
        if not found:
            raise DataError(f"data set {name!r}: no questions")


def _question(id_: str, asked: str, truth: str) -> Question:
    return Question(id_, f"Question: {asked}", truth)


def _by_value(instance: Instance, reply: Completion) -> dict[str, float]:
    """The readings by value, of what follows the thoughts."""
    thoughts = instance.thoughts or Thoughts()
    tags = (thoughts.opening, thoughts.closing)
    answer = split(marked(reply.text, reply.text_with_special, tags), thoughts).text or ""
    written, wanted = latex(answer), numeral.last(latex(str(instance.target)))
    return {
        "flexible": float(_same_value(numeral.last(written), wanted)),
        "strict": float(_same_value(_stated(written), wanted)),
    }


def last_number(text: str) -> str | None:
    """The last number as OLMES reads it: commas between digits removed, the sign kept only before a decimal point.

    >>> last_number("That is 1,234 - 5 = 1,229. So the answer is 1,229."), last_number("-7"), last_number("-0.5")
    ('1229', '7', '-0.5')
    """
    numbers = _LAST.findall(re.sub(r"(\d),(\d)", r"\1\2", text))
    return str(numbers[-1]) if numbers else None


def _stated(text: str) -> Numeral | None:
    """The last number that is said to be the answer."""
    stated = list(_STATED.finditer(text))
    return numeral.at(text, stated[-1].start(1)) if stated else None


def _same_value(answer: Numeral | None, truth: Numeral | None) -> bool:
    if answer is None or truth is None or answer.value is None or truth.value is None:
        return False
    return numeral.same(answer.value, truth.value)
