"""The quality of a problem for learning from verified replies, Q(d) = α·V(d) + (1 − α)·C(d) (F33)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

from aftertrain.core.errors import DataError, unknown
from aftertrain.core.learning.rewards import complexity, data_quality, well_defined
from aftertrain.core.operator import Dropped, Operator, Row
from aftertrain.core.records import JSON, Check, Outcome, Problem, VerificationCase
from aftertrain.core.verification import isolate, shared_pool
from aftertrain.core.verification.checks import case_of
from aftertrain.core.verifier import Verifier, verdicts_of
from aftertrain.plugins.quality.facts import fact, number
from aftertrain.plugins.quality.model_settings import RlvrQualitySettings
from aftertrain.plugins.quality.scoring import chunks


class RlvrQuality(Operator[RlvrQualitySettings]):
    """Facts: `verifiability`, V(d); `steps`, S, and `complexity`, C(d) = min(1, log(1 + S)/log(1 + S_max)); `score`,
    Q(d); `objections`, why checks cannot be judged. `threshold` keeps problems by them."""

    Config = RlvrQualitySettings
    finds = ("verifiability", "objections", "steps", "complexity", "score")
    takes = frozenset({"Problem"})

    def reads(self) -> Sequence[str]:
        """Steps and replies, where facts are these."""
        return [name for name in (self.settings.steps, self.settings.replies) if name is not None]

    def fingerprint(self) -> str:
        """Of what the verifiers have beside their settings."""
        return "".join(verifier.content() for verifier in self._built.values())

    def check(self) -> None:
        """The verifiers have what they need.

        Raises:
            AftertrainError: what one lacks.
        """
        for verifier in self._built.values():
            verifier.preflight()

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        """Each problem, with what it is worth.

        Raises:
            DataError: a check names a verifier that settings do not; a fact is not there, or is not what it should be.
        """
        for some in chunks(iter(rows)):
            asked = [(place, *case) for place, row in enumerate(some) for case in self._cases(row)]
            outcomes: dict[int, list[Outcome]] = {place: [] for place in range(len(some))}
            why: dict[int, list[str]] = {place: [] for place in range(len(some))}
            for name in self._built:
                own = [(place, case) for place, case, verifier in asked if verifier == name]
                judged = self._judged(name, [case for _, case in own])
                for (place, _), (outcome, detail) in zip(own, judged, strict=True):
                    outcomes[place].append(outcome)
                    why[place] += [detail] if outcome != "scored" else []
            for place, row in enumerate(some):
                yield row.with_facts(self._facts(row, outcomes[place], why[place]))

    def _facts(self, row: Row, outcomes: Sequence[Outcome], why: Sequence[str]) -> Mapping[str, JSON]:
        settings = self.settings
        verifiable = well_defined(outcomes) if outcomes else 0.0
        steps = steps_of(_problem(row).checks) if settings.steps is None else number(row, settings.steps)
        found: dict[str, JSON] = {
            "verifiability": round(verifiable, 6),
            "objections": [detail[:200] for detail in dict.fromkeys(why)],
        }
        if steps is None:
            return found | {"steps": None, "complexity": None, "score": None}
        complex_ = complexity(int(steps), settings.most)
        score = data_quality(verifiable, complex_, settings.alpha)
        return found | {"steps": int(steps), "complexity": round(complex_, 6), "score": round(score, 6)}

    def _cases(self, row: Row) -> Iterator[tuple[VerificationCase, str]]:
        problem = _problem(row)
        replies = [""] if self.settings.replies is None else fact(row, self.settings.replies)
        if not isinstance(replies, list) or not all(isinstance(reply, str) for reply in replies):
            raise DataError(f"row {row.id!r}: the fact {self.settings.replies!r} is no list of texts")
        for check in problem.checks:
            if check.verifier not in self._built:
                raise DataError(f"row {row.id!r}: {unknown('verifier in its settings', check.verifier, self._built)}")
            for reply in replies:
                yield replace(case_of(problem, check, row.id), response=reply), check.verifier

    def _judged(self, name: str, cases: Sequence[VerificationCase]) -> list[tuple[Outcome, str]]:
        if self.settings.replies is not None:
            return [(verdict.outcome, verdict.detail) for verdict in verdicts_of(self._isolated[name], cases)]
        objections = self._built[name].objections(cases) if cases else []
        return [("scored", "") if why is None else ("error", why) for why in objections]

    @cached_property
    def _built(self) -> dict[str, Verifier[Any]]:
        return {name: self.builder.build(use) for name, use in self.settings.verifiers.items()}

    @cached_property
    def _isolated(self) -> dict[str, Verifier[Any]]:
        pool = shared_pool(self.settings.verification)
        return {name: isolate(verifier, pool) for name, verifier in self._built.items()}


def _problem(row: Row) -> Problem:
    return cast("Problem", row.record)


def steps_of(checks: Sequence[Check]) -> int:
    """S of ground truths: entries of lists (test cases, constraints), non-empty lines of texts, else one a check.

    >>> steps_of([Check("code", ["assert f(1) == 2", "assert f(2) == 4"]), Check("math", "x = 1" + chr(10) + "2")])
    4
    """
    return sum(_size(check.ground_truth) for check in checks)


def _size(truth: JSON) -> int:
    if isinstance(truth, str):
        return max(1, sum(bool(line.strip()) for line in truth.splitlines()))
    if isinstance(truth, list | tuple):
        return len(truth)
    if isinstance(truth, Mapping):
        return max([1, *(len(value) for value in truth.values() if isinstance(value, list | tuple))])
    return 1
