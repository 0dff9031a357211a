"""Two replies to one prompt compared by a judge, in both orders, and what that says of two or more models (F50).

A judge of pairs is a verifier: the case's response is shown first, its ground truth is `{"other": reply, "reference":
a human's reply or null}`, and the value is 1 where the response is better, 0 where the other is, ½ for a tie (or the
probability of the first against the second).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.verifier import Verifier, verdicts_of


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
