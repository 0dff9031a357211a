"""The gold answer of each question as the one continuation of OLMES's prompt."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from aftertrain.core.benchmark import Row, Shots
from aftertrain.core.benchmark.likelihood import bits_per_byte
from aftertrain.core.benchmark.rows import Ids, digest, read_file
from aftertrain.core.errors import Unavailable
from aftertrain.core.eval_task import Choice, ChoiceScores, ChoiceTask, Instance, InstanceScore
from aftertrain.core.figures import Figure, grouped, mean, ratio
from aftertrain.core.records import Message
from aftertrain.plugins.gold.benchmarks import BENCHMARKS, SEED, Gold, Wording
from aftertrain.plugins.gold.settings import GoldSettings

RELIES_ON = ("shots.json",)


class GoldBits(ChoiceTask[GoldSettings]):
    """`bits_per_byte` of each gold answer given its prompt; `greedy`: the model's likeliest tokens are the answer.

    The headline is the mean over the questions, as in OLMES. The ratio of all bits to all bytes, in which long answers
    weigh more, stands beside it.
    """

    Config = GoldSettings

    @property
    def metrics(self) -> tuple[str, ...]:
        """Bits per byte first, then what the ratio is made of."""
        return ("bits_per_byte", "greedy", "bits", "bytes")

    @property
    def formulation(self) -> str:
        """The benchmark."""
        return self.settings.benchmark

    def figures(self) -> Sequence[Figure]:
        """Of a benchmark of subjects the mean of their means first."""
        bits = mean("bits_per_byte", share=False)
        pooled = ratio("bits_per_byte (pooled)", "bits", "bytes")
        subjects = [grouped(bits)] if len(self._wording.sources) > 1 else []
        return [*subjects, bits, pooled, mean("greedy")]

    def instances(self) -> Sequence[Instance]:
        """The questions in the order of the split, or as OLMES draws them.

        Raises:
            DataError: a row does not fit; names file, line and column.
        """
        return self._instances

    def score(self, instance: Instance, scores: ChoiceScores) -> InstanceScore:
        """What the answer costs."""
        answer, logprob = instance.choices[0].text, scores.logprobs[0]
        metrics = {
            "bits_per_byte": bits_per_byte(answer, logprob),
            "greedy": float(scores.greedy[0]),
            "bits": -logprob / math.log(2),
            "bytes": float(len(answer.encode())),
        }
        return InstanceScore(metrics)

    def notes(self) -> Sequence[str]:
        """Ids that stood several times."""
        self.instances()
        return self._ids.notes()

    def reads(self) -> Sequence[str]:
        """The benchmark's data set."""
        return [source.hub for source in self._wording.sources]

    def fingerprint(self) -> str:
        """Every prompt with its answer."""
        rows = [(i.id, i.messages[0].content, i.choices[0].text, i.group) for i in self._instances]
        return digest(["gold_bits", rows])

    @property
    def _wording(self) -> Wording:
        return BENCHMARKS[self.settings.benchmark]

    @cached_property
    def _ids(self) -> Ids:
        return Ids()

    @cached_property
    def _instances(self) -> list[Instance]:
        unused, several = self._ids.unused, len(self._wording.sources) > 1
        found = []
        for source in self._wording.sources:
            split = self.settings.split or source.split
            rows = replace(source, split=split).rows(self._wording.task, self.settings.data)
            examples, most = self._examples(rows), self._wording.most
            if self.settings.subset and most is not None and len(rows) > most:
                rows = random.Random(SEED).sample(rows, most)
            for row in rows:
                gold = self._wording.gold(row, source.config if several else "")
                name = str(row.fields.get(self._wording.id_column, row.number))
                found.append(self._instance(unused(f"{gold.group}/{name}" if several else name), gold, examples))
        return found

    def _examples(self, rows: Sequence[Row]) -> Shots[Gold]:
        count = self._wording.count if self.settings.shots is None else self.settings.shots
        pool = [] if not count else self._given() if self._wording.given else self._wording.examples(rows, count)
        return Shots(pool, count, lambda gold: gold.text, where=f"task 'gold_bits', benchmark {self._wording.task!r}")

    def _given(self) -> list[Gold]:
        path = self.settings.shots_path
        if path is None:
            raise Unavailable(
                f"task 'gold_bits', benchmark {self._wording.task!r}: needs Minerva's worked examples, problems of "
                "MATH that are not passed on here: set 'shots_path', or take shots=0"
            )
        return [self._wording.gold(row) for row in read_file(Path(path))]

    def _instance(self, id_: str, gold: Gold, examples: Shots[Gold]) -> Instance:
        shown = "".join(f"{example.text}{example.answer}\n\n" for example in examples.before(gold))
        message = Message("user", f"{self._wording.header}{shown}{gold.text}")
        return Instance(id_, (message,), 0, choices=(Choice(gold.answer),), chat=False, group=gold.group)
