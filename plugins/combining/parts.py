"""What all combinators share: their parts, one batch for each, and what a part without a score means."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self, TypeVar

from aftertrain.core.errors import RunError, unknown
from aftertrain.core.ground.wording import distinct
from aftertrain.core.records import Outcome, Verdict, VerificationCase
from aftertrain.core.settings import Builder, Settings, Use
from aftertrain.core.verifier import Verifier, verdicts_of
from aftertrain.plugins.combining.settings import PartsSettings

S = TypeVar("S", bound=Settings)
P = TypeVar("P", bound=PartsSettings)
T = TypeVar("T")
SHOWN = 160
"""Characters of a part's detail that the whole's detail repeats."""
WORST: tuple[Outcome, ...] = ("error", "timeout", "unparsable")
"""Of several outcomes without a score, the first of these is the whole's."""


class Combination(Verifier[S]):
    """Verifiers held by a verifier. A pool isolates the parts, each with its own deadline, not the whole."""

    isolated: ClassVar[bool] = False

    def __init__(self, settings: S, builder: Builder) -> None:
        super().__init__(settings, builder)
        uses = self._uses()
        self._parts: tuple[Verifier[Any], ...] = tuple(builder.build(use) for use in uses)
        self._names = distinct([use.name for use in uses])

    @abstractmethod
    def _uses(self) -> Sequence[Use[Verifier[Any]]]:
        """The parts that the settings name, in order."""

    @property
    def parts(self) -> tuple[Verifier[Any], ...]:
        """The verifiers, in the order of the settings."""
        return self._parts

    def with_parts(self, parts: Sequence[Verifier[Any]]) -> Self:
        """The same combination of other verifiers.

        Raises:
            ValueError: there are more or fewer of them.
        """
        if len(parts) != len(self._parts):
            raise ValueError(f"{type(self).__name__} has {len(self._parts)} parts, not {len(parts)}")
        other = object.__new__(type(self))
        vars(other).update(vars(self), _parts=tuple(parts))
        return other

    @property
    def timeout(self) -> float:
        """The parts' together: they judge one after the other."""
        return sum(part.timeout for part in self._parts)


class PartsInOrder(Combination[P]):
    """Asks part after part, each in one batch, about the cases that the parts before it left open.

    Raises:
        RunError: a part has a reward of its own scale, which would be lost.
    """

    keeps_scale: ClassVar[bool] = False
    """Whether the whole's verdict is one of the parts', with the reward that it may have."""

    def __init__(self, settings: P, builder: Builder) -> None:
        super().__init__(settings, builder)
        for name, part in zip(self._names, self._parts, strict=True):
            if part.own_scale and not self.keeps_scale:
                raise RunError(
                    f"the part {name!r} gives rewards on a scale of its own, and scores in [0, 1] are combined here: "
                    "set its scale to unit, or give it a place of its own under 'rewards'"
                )

    hands_on: ClassVar[bool] = False
    """Whether a part that finds the answer's block (`format`) hands it on to the parts after it."""

    def _uses(self) -> Sequence[Use[Verifier[Any]]]:
        return [part.verifier for part in self.settings.parts]

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """One verdict per case; its detail tells each part's, and which were not asked."""
        by_case: list[list[Verdict]] = [[] for _ in cases]
        cases = list(cases)
        for part, written in zip(self._parts, self.settings.parts, strict=True):
            waiting = [number for number, verdicts in enumerate(by_case) if not self._decided(verdicts)]
            asked = [cases[number] for number in waiting]
            answers = _by_key(asked, written.truth, partial(verdicts_of, part), lambda error: error)
            for number, verdict in zip(waiting, answers, strict=True):
                by_case[number].append(verdict)
                if self.hands_on and verdict.outcome == "scored":
                    cases[number] = part.handed_on(cases[number])
        return [replace(self._combined(verdicts), detail=self._told(verdicts)) for verdicts in by_case]

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        """The first of the parts', also of parts that a blank response would spare."""
        reasons: list[str | None] = [None] * len(cases)
        for name, part, written in zip(self._names, self._parts, self.settings.parts, strict=True):
            objections = _by_key(cases, written.truth, part.objections, lambda error: error.detail)
            for number, reason in enumerate(objections):
                if reason is not None and reasons[number] is None:
                    reasons[number] = f"{name}: {reason}"
        return reasons

    def _decided(self, verdicts: Sequence[Verdict]) -> bool:
        """Whether the parts asked so far decide, whatever the others would say."""
        return False

    @abstractmethod
    def _combined(self, verdicts: Sequence[Verdict]) -> Verdict:
        """The whole's verdict from those of the parts asked, in order; its detail is written over."""

    def _told(self, verdicts: Sequence[Verdict]) -> str:
        details = [f"{name} {_short(verdict)}" for name, verdict in zip(self._names, verdicts, strict=False)]
        if spared := self._names[len(verdicts) :]:
            details.append(f"not asked: {', '.join(spared)}")
        return "; ".join(details)


def applying(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts of the parts that did not abstain."""
    return [verdict for verdict in verdicts if verdict.outcome != "abstained"]


def worst(verdicts: Sequence[Verdict]) -> Verdict | None:
    """Of the verdicts without a score the gravest: an error, else a timeout, else unparsable; None where all scored."""
    return next((verdict for outcome in WORST for verdict in verdicts if verdict.outcome == outcome), None)


def zeroed(verdicts: Sequence[Verdict], outcomes: Sequence[Outcome]) -> list[Verdict]:
    """The verdicts, those of the given outcomes as a score of 0."""
    return [Verdict.scored(0.0) if verdict.outcome in outcomes else verdict for verdict in verdicts]


def _by_key(
    cases: Sequence[VerificationCase],
    key: str | None,
    ask: Callable[[Sequence[VerificationCase]], Sequence[T]],
    refused: Callable[[Verdict], T],
) -> list[T]:
    """What `ask` says of the cases, in one batch, with what their ground truths hold under `key`; of a case without
    that key what `refused` makes of the error.
    """
    picked = [_picked(case, key) for case in cases]
    answers = iter(ask([case for case in picked if isinstance(case, VerificationCase)]))
    return [refused(case) if isinstance(case, Verdict) else next(answers) for case in picked]


def _picked(case: VerificationCase, key: str | None) -> VerificationCase | Verdict:
    if key is None:
        return case
    truth = case.ground_truth
    if not isinstance(truth, Mapping):
        return Verdict.error(f"the ground truth must be a mapping with the key {key!r}, not {type(truth).__name__}")
    if key not in truth:
        return Verdict.error(f"ground truth: {unknown('key', key, map(str, truth))}")
    return replace(case, ground_truth=truth[key])


def _short(verdict: Verdict) -> str:
    score = verdict.outcome if verdict.value is None else f"{verdict.value:g}"
    detail = verdict.detail if len(verdict.detail) <= SHOWN else verdict.detail[: SHOWN - 1] + "…"
    return f"{score} ({detail})" if detail else score
