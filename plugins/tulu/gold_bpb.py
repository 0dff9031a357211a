"""What the right text costs a model, in bits per byte (OLMES's variants `bpb`), for any benchmark of replies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from aftertrain.core.benchmark import ReplyBenchmark
from aftertrain.core.benchmark.likelihood import bits_per_byte
from aftertrain.core.benchmark.rows import digest
from aftertrain.core.benchmark.source import with_folder
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Choice, ChoiceScores, ChoiceTask, Instance, InstanceScore
from aftertrain.core.figures import Figure, mean
from aftertrain.core.settings import Use
from aftertrain.plugins.tulu.settings import GoldBPBSettings

BITS = "bits_per_byte"


class GoldBPB(ChoiceTask[GoldBPBSettings]):
    """`bits_per_byte` of each gold text behind the benchmark's prompt in plain text; lower is better."""

    Config = GoldBPBSettings

    @property
    def metrics(self) -> tuple[str, ...]:
        """One."""
        return (BITS,)

    def reads(self) -> Sequence[str]:
        """What the benchmark reads."""
        return self._benchmark.reads()

    def figures(self) -> Sequence[Figure]:
        """The mean over the questions, as OLMES takes it; no share."""
        return [mean(BITS, share=False)]

    def instances(self) -> Sequence[Instance]:
        """The benchmark's questions, each with one continuation.

        Raises:
            DataError: a question has no gold text, or what is named is no benchmark of replies.
        """
        return self._instances

    def score(self, instance: Instance, scores: ChoiceScores) -> InstanceScore:
        """A space before the text counts as a byte."""
        return InstanceScore({BITS: bits_per_byte(instance.choices[0].text, scores.logprobs[0])})

    def fingerprint(self) -> str:
        """Every prompt with its text."""
        return digest(["gold_bpb", [(i.id, i.messages[0].content, i.choices[0].text) for i in self._instances]])

    @cached_property
    def _benchmark(self) -> ReplyBenchmark[Any]:
        use = with_folder(self.settings.benchmark, self.settings.data)
        if hasattr(use.settings, "chat"):
            use = Use(use.kind, use.name, use.settings.model_copy(update={"chat": False}))
        benchmark = self.builder.build(use)
        if not isinstance(benchmark, ReplyBenchmark):
            raise DataError(
                f"gold_bpb: {use.name!r} is no benchmark of replies, whose worked answers have a likelihood"
            )
        return benchmark

    @cached_property
    def _instances(self) -> list[Instance]:
        name, instances = self.settings.benchmark.name, []
        for question, instance in self._benchmark.asked():
            gold = self._benchmark.gold(question)
            if not gold.strip():
                raise DataError(f"gold_bpb: question {instance.id!r} of {name!r} has no gold text")
            text = gold if gold[0] in " \n" else f" {gold}"
            prompt = instance.messages
            instances.append(Instance(instance.id, prompt, None, (Choice(text),), chat=False, group=instance.group))
        return instances
