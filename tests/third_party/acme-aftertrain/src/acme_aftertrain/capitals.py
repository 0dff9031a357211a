"""Capitals of a few countries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from acme_aftertrain.settings import CapitalsSettings
from aftertrain.core.eval_task import Instance, InstanceScore, ReplyTask
from aftertrain.core.figures import Figure, pass_at
from aftertrain.core.generator import Sampling
from aftertrain.core.records import Completion, Message, VerificationCase
from aftertrain.core.verifier import Verifier, verdicts_of

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Kenya": "Nairobi"}


class Capitals(ReplyTask[CapitalsSettings]):
    """One question for each country; a nested verifier judges the reply."""

    Config = CapitalsSettings

    @property
    def metrics(self) -> tuple[str, ...]:
        """Share of right replies."""
        return ("right",)

    def instances(self) -> Sequence[Instance]:
        """The countries.

        Raises:
            Unavailable: the verifier is a judge, and has no model.
        """
        self._verifier.preflight()
        return [
            Instance(country, (Message("user", f"What is the capital of {country}?"),), capital)
            for country, capital in CAPITALS.items()
        ]

    def score(self, instance: Instance, reply: Completion) -> InstanceScore:
        """The verifier's value; 0 where it gives none."""
        case = VerificationCase(instance.id, instance.messages[-1].content, reply.text, instance.target)
        (verdict,) = verdicts_of(self._verifier, [case])
        return InstanceScore({"right": verdict.value or 0.0}, verdict.extracted, verdict.outcome, verdict.detail)

    @cached_property
    def _verifier(self) -> Verifier[Any]:
        return self.builder.build(self.settings.verifier)

    @property
    def samples(self) -> int:
        """The setting."""
        return self.settings.samples

    def figures(self) -> Sequence[Figure]:
        """The mean and, of several replies, the chance that one of them is right."""
        most = self.settings.samples
        return [*super().figures(), *([pass_at("right", most)] if most > 1 else [])]

    def fingerprint(self) -> str:
        """Digest of questions, answers and verifier."""
        return hashlib.sha256(repr((CAPITALS, self.settings.verifier.dump())).encode()).hexdigest()

    def sampling(self) -> Sampling:
        """Short; greedy where there is one reply."""
        return Sampling(temperature=0.8 if self.settings.samples > 1 else 0.0, max_new_tokens=8)
