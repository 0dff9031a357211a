"""Any data set of verifiable problems: generate a reply, let a verifier judge it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from aftertrain.core.benchmark.rows import digest
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Instance, InstanceScore, ReplyTask
from aftertrain.core.figures import Figure, best_of, grouped, majority, mean, pass_at
from aftertrain.core.generator import Sampling
from aftertrain.core.records import Completion, Message, Problem, Verdict, VerificationCase
from aftertrain.core.verification import isolate, shared_pool
from aftertrain.core.verifier import Verifier, verdicts_of
from aftertrain.plugins.evaluation.settings import ProblemsSettings

EXAMPLES = 5
"""Ground truths named in an error."""


class Problems(ReplyTask[ProblemsSettings]):
    """`exact_match` is the verdict's value, 0 where there is none; of several checks of one problem, the lowest.

    `format` is the share of replies in which the verifier found an answer to judge.
    """

    Config = ProblemsSettings

    @property
    def metrics(self) -> tuple[str, ...]:
        """The verdict first."""
        return ("exact_match", "format")

    @property
    def _check(self) -> str:
        return self.settings.check or self.settings.verifier.name

    @cached_property
    def _problems(self) -> list[Problem]:
        return list(self.builder.build(self.settings.data))

    @cached_property
    def _sources(self) -> dict[str, str]:
        return {problem.id: problem.source for problem in self._problems}

    @cached_property
    def _verifier(self) -> Verifier[Any]:
        verifier = self.builder.build(self.settings.verifier)
        verifier.preflight()
        return isolate(verifier, shared_pool(self.settings.verification))

    @property
    def cost(self) -> float:
        """The verifier's."""
        return self._verifier.cost

    def instances(self) -> Sequence[Instance]:
        """One per problem; the verifier has what it needs.

        Raises:
            DataError: there is none, one is not a Problem, or one has no check of the verifier's name.
        """
        _ = self._verifier
        found = []
        for problem in self._problems:
            if not isinstance(problem, Problem):
                raise DataError(
                    f"data set {self.settings.data.name!r} yields {type(problem).__name__} records; "
                    "the task 'problems' needs Problem records"
                )
            truths = [check.ground_truth for check in problem.checks if check.verifier == self._check]
            if not truths:
                there = ", ".join(sorted({check.verifier for check in problem.checks})) or "none"
                raise DataError(
                    f"problem {problem.id!r} has no check {self._check!r} (it has: {there}); "
                    "choose that verifier, or name the check with the setting 'check'"
                )
            messages = problem.prompt
            if self.settings.prefill:
                messages = (*messages, Message("assistant", self.settings.prefill))
            found.append(Instance(problem.id, messages, truths, chat=self.settings.chat, group=problem.source))
        if not found:
            raise DataError(f"data set {self.settings.data.name!r} has no rows to evaluate on")
        self._refuse_unjudgeable(found)
        return found

    def _refuse_unjudgeable(self, instances: Sequence[Instance]) -> None:
        cases = [case for instance in instances for case in self._cases(instance, "")]
        reasons = zip(cases, self._verifier.objections(cases), strict=True)
        objections = [f"problem {case.id}: {reason}" for case, reason in reasons if reason is not None]
        if objections:
            raise DataError(
                f"data set {self.settings.data.name!r}: {len(objections):,} of {len(cases):,} ground truths cannot be "
                f"judged by {self.settings.verifier.name!r}; {'; '.join(objections[:EXAMPLES])}"
            )

    def _cases(self, instance: Instance, response: str, with_special: str | None = None) -> list[VerificationCase]:
        """One for each ground truth."""
        prompt = "\n".join(message.content for message in instance.messages if message.role == "user")
        return [
            VerificationCase(
                f"{instance.id}#{number}",
                prompt,
                response,
                truth,
                self._sources[instance.id],
                with_special,
                thoughts=instance.thoughts,
            )
            for number, truth in enumerate(instance.target)
        ]

    def sampling(self) -> Sampling:
        """The task's own length, stops and temperature."""
        settings = self.settings
        return Sampling(max_new_tokens=settings.max_new_tokens, temperature=settings.temperature, stop=settings.stop)

    @property
    def samples(self) -> int:
        """The setting."""
        return self.settings.samples

    def figures(self) -> Sequence[Figure]:
        """Means, of several replies what k of them reach (pass@k without bias, votes, the best), and of several
        sources the mean of their means.
        """
        most = self.settings.samples
        powers = [k for k in (2**i for i in range(most.bit_length())) if 1 < k < most]
        several = [figure("exact_match", k) for k in (*powers, most) for figure in (pass_at, majority, best_of)]
        sources = len(set(self._sources.values())) > 1
        return [
            *super().figures(),
            *(several if most > 1 else []),
            *([grouped(mean("exact_match"))] if sources else []),
        ]

    def score(self, instance: Instance, reply: Completion) -> InstanceScore:
        """Judge one reply."""
        return self.score_all([instance], [reply])[0]

    def score_all(self, instances: Sequence[Instance], replies: Sequence[Completion]) -> list[InstanceScore]:
        """Judge replies in one call of the verifier."""
        cases = [
            case
            for instance, reply in zip(instances, replies, strict=True)
            for case in self._cases(instance, reply.text, reply.text_with_special)
        ]
        verdicts = iter(verdicts_of(self._verifier, cases))
        return [score_of([next(verdicts) for _ in instance.target]) for instance in instances]

    def fingerprint(self) -> str:
        """Data, verifier with its settings, and prompt form."""
        data = self.builder.build(self.settings.data).fingerprint()
        asked_otherwise = {"name", "data", "samples", "temperature"}
        rules = {key: value for key, value in self.settings.affecting().items() if key not in asked_otherwise}
        judge = self.builder.build(self.settings.verifier).content()
        return digest(["problems", data, rules, *([judge] if judge else [])])

    def content(self) -> str:
        """The problems, and what the verifier has beside its settings."""
        problems = self.builder.build(self.settings.data).content()
        judge = self.builder.build(self.settings.verifier).content()
        return digest([problems, judge]) if judge else problems


def _place(verdict: Verdict) -> tuple[float, bool]:
    """By how little a check leaves of a reply: one that is not met, or finds no answer, decides whatever another says.

    A check that could not be judged decides before one that is met in part.
    """
    if verdict.value is not None:
        return (verdict.value if verdict.value == 0 else 1.0 + verdict.value), True
    return (0.0, False) if verdict.outcome == "unparsable" else (0.5, False)


def score_of(verdicts: Sequence[Verdict]) -> InstanceScore:
    worst = min(verdicts, key=_place)
    answered = all(verdict.outcome == "scored" for verdict in verdicts)
    return InstanceScore(
        metrics={"exact_match": worst.value or 0.0, "format": float(answered)},
        extracted=worst.extracted,
        outcome=worst.outcome,
        detail=worst.detail,
    )
