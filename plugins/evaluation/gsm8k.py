"""GSM8K as Tülu 3 evaluates it (OLMES `gsm8k::tulu`; Cobbe et al. 2021, examples of Wei et al. 2022).

Eight worked examples are earlier turns of the conversation, each answer ending "So the answer is N."; the reply is
begun with `Answer:`. The score reads the last number of the reply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files

from aftertrain.core.benchmark.rows import Ids, digest, need, read_rows
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Instance, InstanceScore, ReplyTask
from aftertrain.core.generator import Sampling
from aftertrain.core.records import Completion, Message, Problem, Thoughts
from aftertrain.core.text import numeral
from aftertrain.core.text.answer import marked, split
from aftertrain.core.text.notation import latex
from aftertrain.core.text.numeral import Numeral
from aftertrain.plugins.evaluation.settings import GSM8KSettings

STOPS = ("Question:", "</s>", "<|im_end|>")
_LAST = re.compile(r"[-+]?\d*\.\d+|\d+")
_STATED = re.compile(r"(?:answer is|####)\s*:?\s*\\?\$?-?\\?\$?([\d,]*\.?\d+)", re.IGNORECASE)


RELIES_ON = ("wei_shots.json",)


class GSM8K(ReplyTask[GSM8KSettings]):
    """Three readings of one reply.

    `exact_match` (Tülu 3's): the last number with its commas removed, sign of integers dropped, equal as text; of the
    whole reply, as published. The others read what follows the reply's thoughts. `flexible`: the last number whole
    (`core/text/numeral.py`), equal in value. `strict`: the number stated as "the answer is N" (or `#### N`), equal in
    value; below `exact_match` it tells how many replies left the form.
    """

    Config = GSM8KSettings

    @property
    def metrics(self) -> tuple[str, ...]:
        """Tülu 3's reading first."""
        return ("exact_match", "flexible", "strict")

    def instances(self) -> Sequence[Instance]:
        """The questions in the order of the file."""
        return [
            Instance(id, self._messages(question), answer, chat=self.settings.chat)
            for id, question, answer in self._rows
        ]

    def sampling(self) -> Sampling:
        """Greedy, 512 tokens, Tülu 3's stops; the plain-text form also stops at an empty line."""
        stop = self.settings.stop
        if stop is None:
            stop = STOPS if self.settings.chat else (*STOPS, "\n\n")
        return Sampling(max_new_tokens=self.settings.max_new_tokens, temperature=0.0, stop=stop)

    def score(self, instance: Instance, reply: Completion) -> InstanceScore:
        """Read the reply in three ways; a reply without a number is `unparsable` and scores 0."""
        text, thoughts = reply.text, instance.thoughts or Thoughts()
        answer = split(marked(text, reply.text_with_special, (thoughts.opening, thoughts.closing)), thoughts).text or ""
        truth = str(instance.target)
        last = last_number(text)
        written, wanted = latex(answer), numeral.last(latex(truth))
        metrics = {
            "exact_match": float(last is not None and last == last_number(truth)),
            "flexible": float(_same_value(numeral.last(written), wanted)),
            "strict": float(_same_value(_stated(written), wanted)),
        }
        return InstanceScore(metrics, extracted=last, outcome="unparsable" if last is None else "scored")

    def fingerprint(self) -> str:
        """Questions, answers and prompt form."""
        rules = {key: value for key, value in self.settings.affecting().items() if key not in {"name", "data"}}
        return digest(["gsm8k", self._rows, rules, _shots()[: self.settings.shots]])

    def content(self) -> str:
        """Questions and answers."""
        return digest(self._rows) if self.settings.data is None else self.builder.build(self.settings.data).content()

    @cached_property
    def _rows(self) -> list[tuple[str, str, str]]:
        rows = self._from_file() if self.settings.data is None else self._from_data()
        if not rows:
            raise DataError(f"{self.settings.path or 'data'}: no questions")
        return rows

    def _from_file(self) -> list[tuple[str, str, str]]:
        ids, rows = Ids(), []
        for number, row in read_rows(self.settings.path or ""):
            where = f"{self.settings.path}:{number}"
            question, answer = need(row, "question", str, where), need(row, "answer", str, where)
            truth = answer.split("####")[-1].strip()
            if last_number(truth) is None:
                raise DataError(f"{where}: field 'answer' has no number after '####': {truth!r}")
            rows.append((ids.of(row, question), question, truth))
        return rows

    def _from_data(self) -> list[tuple[str, str, str]]:
        assert self.settings.data is not None
        rows = []
        for problem in self.builder.build(self.settings.data):
            if not isinstance(problem, Problem) or len(problem.checks) != 1:
                raise DataError(
                    f"data set {self.settings.data.name!r}: gsm8k needs Problem records with one check each"
                )
            truth = str(problem.checks[0].ground_truth)
            if last_number(truth) is None:
                raise DataError(f"problem {problem.id!r}: gsm8k needs a number as ground truth, found {truth!r:.80}")
            if len(problem.prompt) != 1:
                raise DataError(f"problem {problem.id!r}: gsm8k needs one question, found {len(problem.prompt)} turns")
            rows.append((problem.id, problem.prompt[0].content, truth))
        return rows

    def _messages(self, question: str) -> tuple[Message, ...]:
        shots = _shots()[: self.settings.shots]
        if not self.settings.chat:
            text = "".join(f"Question: {shot['question']}\nAnswer: {shot['answer']}\n\n" for shot in shots)
            return (Message("user", f"{text}Question: {question}\nAnswer:"),)
        turns: list[Message] = []
        for shot in shots:
            turns += [
                Message("user", f"Question: {shot['question']}"),
                Message("assistant", f"Answer: {shot['answer']}"),
            ]
        return (*turns, Message("user", f"Question: {question}"), Message("assistant", "Answer:"))


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


def _shots() -> list[dict[str, str]]:
    shots: list[dict[str, str]] = json.loads(files(__package__).joinpath("wei_shots.json").read_text(encoding="utf-8"))
    return shots
