"""What the benchmarks of preference share: a pair in a drawn order, or in both, and one value of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from aftertrain.core.benchmark import JudgedBenchmark
from aftertrain.core.eval_task import Instance
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.preference import in_both_orders, swapped
from aftertrain.core.records import JSON, Verdict
from aftertrain.core.verifier import verdicts_of
from aftertrain.plugins.preference_evals.settings import PreferenceSettings

P = TypeVar("P", bound=PreferenceSettings)

CURE = (
    "give one that compares two replies, as in 'judge: {use: pairwise, model: DIR, template: NAME}', or any verifier "
    "whose ground truth is {other: reply}"
)


class PreferenceTask(JudgedBenchmark[P]):
    """A benchmark whose instances' targets hold the baseline's reply: `{"other": …, "reference": …}`."""

    published = "pairwise"
    cure = CURE

    def truth(self, instance: Instance) -> JSON:
        """The baseline's reply, and a person's where the judge is to see it."""
        return {"other": instance.target["other"], "reference": instance.target.get("reference")}

    def preferences(self, cases: Sequence[tuple[Instance, str]]) -> list[Verdict]:
        """How much the judge prefers each reply to the baseline's, from 0 to 1, in one call of it."""
        asked = [self.case(instance, text) for instance, text in cases]
        if self.settings.order == "both":
            return [
                pair if isinstance(pair, Verdict) else Verdict.scored(pair.value, _told(pair.value))
                for pair in in_both_orders(self.judge_of_replies, asked)
            ]
        turned = [self.turned(instance) for instance, _ in cases]
        shown = [swapped(case) if turn else case for case, turn in zip(asked, turned, strict=True)]
        return [
            replace(verdict, value=1 - verdict.value) if turn and verdict.value is not None else verdict
            for verdict, turn in zip(verdicts_of(self.judge_of_replies, shown), turned, strict=True)
        ]

    def turned(self, instance: Instance) -> bool:
        """Whether the baseline's reply is shown first: half of the questions, by the seed and the question alone."""
        asked = "\n".join(message.content for message in instance.messages)
        return bool(sub_seed(self.settings.seed, "order", asked) % 2)

    def fingerprint_parts(self) -> Sequence[JSON]:
        """What further decides a score."""
        return [self.settings.order, self.settings.seed]


def _told(value: float) -> str:
    return "better" if value > 0.5 else "worse" if value < 0.5 else "tie"
