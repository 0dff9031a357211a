"""Two replies to one prompt compared by a judge, in both orders, and what that says of two or more models (F50).

A judge of pairs is a verifier: the case's response is shown first, its ground truth is `{"other": reply, "reference":
a human's reply or null}`, and the value is 1 where the response is better, 0 where the other is, ½ for a tie (or the
probability of the first against the second).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar, Protocol, runtime_checkable

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.verifier import Verifier, verdicts_of

ALONE = "there is no other reply to the prompt to compare it with"


@dataclass(frozen=True, slots=True)
class Preference:
    """What a judge says of a pair that it saw in both orders.

    Attributes:
        first: the value of the case's response where it is shown first.
        second: the same where it is shown second (1 − the verdict's value).
    """

    first: float
    second: float

    @property
    def value(self) -> float:
        """The mean of both orders: 1 where the response is better in both, ½ where the order decides."""
        return (self.first + self.second) / 2

    @property
    def sign(self) -> int:
        """1 where the response is better over both orders, −1 where it is worse, 0 for a tie."""
        return (self.value > 0.5) - (self.value < 0.5)

    @property
    def follows(self) -> int:
        """1 where each time the reply shown first is preferred, −1 the one shown second, 0 where neither."""
        if self.first > 0.5 > self.second:
            return 1
        return -1 if self.first < 0.5 < self.second else 0


@runtime_checkable
class RatesAspects(Protocol):
    """A verifier that rates several aspects of a reply, each by a verdict of its own (F18).

    Attributes:
        scale: the lowest and the highest rating, of which verdicts have the values 0 and 1.
    """

    scale: ClassVar[tuple[float, float]]

    def aspects_of(self, cases: Sequence[VerificationCase]) -> Sequence[Mapping[str, Verdict]]:
        """Of each case the verdict on each aspect, by its name; abstained where the aspect does not apply."""
        ...


def mean_of_aspects(aspects: Mapping[str, Verdict]) -> Verdict:
    """The mean of those that apply; one that could not be rated decides, and where none applies, nothing is said.

    >>> rated = {"a": Verdict.scored(1.0), "b": Verdict.scored(0.5), "c": Verdict.abstained()}
    >>> mean_of_aspects(rated).value, mean_of_aspects({"c": Verdict.abstained()}).outcome
    (0.75, 'abstained')
    >>> mean_of_aspects({**rated, "d": Verdict.unparsable("no rating")}).detail
    'd: no rating'
    """
    for name, verdict in aspects.items():
        if verdict.value is None and verdict.outcome != "abstained":
            return Verdict(verdict.outcome, detail=f"{name}: {verdict.detail}")
    values = [verdict.value for verdict in aspects.values() if verdict.value is not None]
    if not values:
        return Verdict.abstained("none of its aspects applies")
    told = ", ".join(f"{name} {verdict.extracted or verdict.outcome}" for name, verdict in aspects.items())
    return Verdict.scored(sum(values) / len(values), told)


def swapped(case: VerificationCase) -> VerificationCase:
    """The same with the other reply shown first; the response's value is then 1 − the verdict's."""
    truth: Mapping[str, Any] = case.ground_truth
    other = {**truth, "other": case.response}
    return VerificationCase(
        case.id, case.prompt, truth["other"], other, case.source, thoughts=case.thoughts, part=case.part
    )


def in_both_orders(judge: Verifier[Any], cases: Sequence[VerificationCase]) -> list[Preference | Verdict]:
    """A preference for each case, in order, from one call of the judge; or a verdict that gives none.

    Raises:
        AftertrainError: what a user can mend, and no case is to blame for.
    """
    verdicts = verdicts_of(judge, [*cases, *map(swapped, cases)])
    found: list[Preference | Verdict] = []
    for first, second in zip(verdicts[: len(cases)], verdicts[len(cases) :], strict=True):
        if first.value is None or second.value is None:
            found.append(unjudged(first if first.value is None else second))
        else:
            found.append(Preference(first.value, 1 - second.value))
    return found


def unjudged(verdict: Verdict) -> Verdict:
    """A judge's verdict without a value: time-outs as they are, anything else an error, for it says nothing of a reply.

    >>> unjudged(Verdict.unparsable("no judgement")).outcome
    'error'
    """
    return verdict if verdict.outcome == "timeout" else Verdict.error(verdict.detail or verdict.outcome)


def compared(
    judge: Verifier[Any], groups: Sequence[int], cases: Sequence[VerificationCase]
) -> dict[tuple[int, int], Preference | Verdict]:
    """Every two replies of a group compared in both orders, by their places; a verdict where the judge gave none.

    Replies of one text are as good as each other, and the judge is not asked. All pairs are asked in one batch.
    """
    members: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    pairs = [pair for places in members.values() for pair in combinations(places, 2)]
    unlike = [(one, other) for one, other in pairs if cases[one].response != cases[other].response]
    asked = [_against(cases[one], cases[other], f"{cases[one].id} {cases[other].id}") for one, other in unlike]
    found: dict[tuple[int, int], Preference | Verdict] = dict.fromkeys(pairs, Preference(0.5, 0.5))
    return found | dict(zip(unlike, in_both_orders(judge, asked), strict=True))


def means_of(count: int, comparisons: Mapping[tuple[int, int], Preference | Verdict]) -> list[Verdict]:
    """For each of so many replies the mean of what it is preferred by to every other reply of its group (F25).

    1 is better than all others, 0 worse than all, ½ as good. A reply of which a comparison failed gets that verdict.
    """
    values: list[list[float]] = [[] for _ in range(count)]
    failed: dict[int, Verdict] = {}
    for (one, other), preference in comparisons.items():
        if isinstance(preference, Verdict):
            failed = {one: preference, other: preference} | failed
        else:
            values[one].append(preference.value)
            values[other].append(1 - preference.value)
    return [failed[place] if place in failed else _mean(own) for place, own in enumerate(values)]


def verdicts_by_comparison(
    judge: Verifier[Any], groups: Sequence[int], cases: Sequence[VerificationCase]
) -> list[Verdict]:
    """A judge of pairs as a reward (OAIF, arXiv 2402.04792; F25): each reply against the others of its group."""
    return means_of(len(cases), compared(judge, groups, cases))


def _mean(values: Sequence[float]) -> Verdict:
    if not values:
        return Verdict.error(ALONE)
    return Verdict.scored(sum(values) / len(values), detail=f"compared with {len(values)} in both orders")


def _against(case: VerificationCase, other: VerificationCase, id: str) -> VerificationCase:
    truth = case.ground_truth
    reference = truth.get("reference") if isinstance(truth, Mapping) else None
    return replace(case, id=id, ground_truth={"other": other.response, "reference": reference})
