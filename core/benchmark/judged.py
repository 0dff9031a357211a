"""Benchmarks whose replies another verifier judges, most often a model, and what stands where there is none.

What a judge cannot say is an error, which says nothing of a reply and is never its 0. A number by another judge than
the published one has another name.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from pydantic import Field

from aftertrain.core.benchmark.replies import ReplyBenchmark, ReplyBenchmarkSettings
from aftertrain.core.benchmark.rows import digest
from aftertrain.core.errors import AftertrainError, DataError, Unavailable
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.preference import unjudged
from aftertrain.core.records import JSON, Verdict, VerificationCase
from aftertrain.core.settings import Use
from aftertrain.core.verification import isolate, shared_pool
from aftertrain.core.verifier import Verifier

J = TypeVar("J", bound="JudgedSettings")


class JudgedSettings(ReplyBenchmarkSettings):
    """Settings of a benchmark whose replies a verifier judges."""

    judge: Use[Verifier[Any]] | None = Field(
        None, description="The verifier that judges replies. Without one the task's row is missing from a suite."
    )


class JudgedBenchmark(ReplyBenchmark[J]):
    """A benchmark that asks a verifier about each reply; a subclass says what it asks, and what the answer is worth.

    Attributes:
        published: the verifier by which the published numbers were made; numbers by another get its name.
        cure: how a judge is given, at the end of the message that there is none.
    """

    published: ClassVar[str]
    cure: ClassVar[str]

    @abstractmethod
    def truth(self, instance: Instance) -> JSON:
        """What the judge gets as ground truth of a reply to the instance."""

    def named(self, metric: str) -> str:
        """The name of a number: that of the metric, with the judge's behind it where it is not the published one.

        A verifier `refusal_by_words` makes `refusal` a `refusal_by_words`; of `./file.py:Mine` it is `_by_Mine`.
        """
        judge = self.settings.judge
        if judge is None or self.by_published_judge:
            return metric
        return f"{metric}_by_{re.split('[:/]|_by_', judge.name)[-1]}"

    @property
    def by_published_judge(self) -> bool:
        """Whether the judge is the one by which the published numbers were made, as far as settings say."""
        return self.settings.judge is not None and self.settings.judge.name == self.published

    @cached_property
    def judge_of_replies(self) -> Verifier[Any]:
        """The verifier, with all it needs.

        Raises:
            Unavailable: there is none, or what it needs is not here.
        """
        if self.settings.judge is None:
            raise Unavailable(f"task {self.task!r}: no judge: {self.cure}")
        judge = self.builder.build(self.settings.judge)
        try:
            judge.preflight()
        except AftertrainError as error:
            raise Unavailable(
                f"task {self.task!r}: judge {self.settings.judge.name!r} cannot be asked: {error}"
            ) from error
        return isolate(judge, shared_pool())

    @property
    def cost(self) -> float:
        """The judge's."""
        return self.judge_of_replies.cost

    def instances(self) -> Sequence[Instance]:
        """The questions, all of which the judge can judge.

        Raises:
            Unavailable: there is no judge, or one that cannot be asked about any reply. DataError: a row does not fit,
                or the judge cannot be asked about it.
        """
        judge, instances = self.judge_of_replies, super().instances()
        cases = [self.case(instance, "") for instance in instances]
        reasons = judge.objections(cases)
        for case, reason in zip(cases, reasons, strict=True):
            if reason is None:
                continue
            if None not in reasons:
                raise Unavailable(f"task {self.task!r}: no judge of its replies: {reason}")
            raise DataError(f"task {self.task!r}, instance {case.id!r}: the judge cannot be asked: {reason}")
        return instances

    def case(self, instance: Instance, text: str) -> VerificationCase:
        """A reply as the judge gets it: the part that the task reads, of which a verifier takes no part itself."""
        asked = "\n".join(message.content for message in instance.messages if message.role == "user")
        return VerificationCase(instance.id, asked, text, self.truth(instance), self.task, part="answer")

    def failed(
        self, verdict: Verdict, metrics: Sequence[str], parts: Mapping[str, JSON] | None = None
    ) -> InstanceScore:
        """The score of a reply that could not be judged: no metric says anything, which the outcome tells."""
        verdict = unjudged(verdict)
        return InstanceScore(
            dict.fromkeys(metrics, 0.0), outcome=verdict.outcome, detail=verdict.detail, parts=parts or {}
        )

    def judge(self, instance: Instance, text: str) -> InstanceScore:
        """What one reply is worth."""
        return self.judge_all([(instance, text)])[0]

    def fingerprint(self) -> str:
        """Further the judge with all that decides its verdicts, the files of its model among it."""
        judge = self.settings.judge
        questions = super().fingerprint()
        if judge is None:
            return digest([questions, None])
        return digest([questions, [judge.name, judge.settings.affecting(), self.builder.build(judge).content()]])
