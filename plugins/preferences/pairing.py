"""From rated replies to a pair, or to the best: pure functions of ratings and a seed (F18–F20)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from aftertrain.core.learning.rewards import ROUNDING


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rated reply.

    Attributes:
        text: by which two replies are told to be the same.
    """

    id: str
    rating: float
    text: str


@dataclass(frozen=True, slots=True)
class Left:
    """Why nothing is made of a prompt's replies.

    Attributes:
        reason: a word or two.
        figures: what shows it; where it is a bound, the `fact` that missed it, its `value` and the `bound`.
        facts: the fact, by the name that rows have it by.
    """

    reason: str
    figures: dict[str, float | int | str]
    facts: dict[str, float] = field(default_factory=dict)


def pair(
    replies: Sequence[Candidate],
    rng: random.Random,
    *,
    rejected: Literal["random", "lowest"] = "random",
    margin: float = 0.0,
) -> tuple[Candidate, Candidate] | Left:
    """The chosen and the rejected reply: the highest rating against a lower one; ties are never a pair (F18).

    Of several that are highest, or lowest, one is drawn.

    Args:
        rng: draws; the order of the replies decides what is drawn.
        rejected: one of all lower replies, or the lowest.
        margin: τ, above which the difference of the ratings must lie (F19).

    >>> a, b, c = Candidate("a", 4.0, "A"), Candidate("b", 2.5, "B"), Candidate("c", 4.0, "C")
    >>> [reply.id for reply in pair([b, a], random.Random(0))]
    ['a', 'b']
    >>> pair([a, c], random.Random(0)).reason, pair([a, b], random.Random(0), margin=1.5).reason
    ('tie', 'margin')
    """
    if len(replies) < 2:
        return Left("one reply" if replies else "no reply", {"replies": len(replies)})
    best = max(reply.rating for reply in replies)
    lower = [reply for reply in replies if reply.rating < best - ROUNDING]
    if not lower:
        return Left("tie", {"replies": len(replies), "rating": best})
    chosen = rng.choice([reply for reply in replies if reply.rating >= best - ROUNDING])
    lower = [reply for reply in lower if reply.text != chosen.text]
    if not lower:
        return Left("same text", {"replies": len(replies), "rating": best})
    if rejected == "lowest":
        least = min(reply.rating for reply in lower)
        lower = [reply for reply in lower if reply.rating <= least + ROUNDING]
    worse = rng.choice(lower)
    difference = chosen.rating - worse.rating
    if difference <= margin + (ROUNDING if margin else 0.0):
        return Left("margin", {"fact": "margin", "value": difference, "bound": margin}, {"margin": difference})
    return chosen, worse


def best(
    replies: Sequence[Candidate], rng: random.Random, *, at_least: float | None = None, most: int = 1
) -> list[Candidate] | Left:
    """The best replies of different texts, the highest first; of those rated alike, which comes first is drawn.

    Args:
        at_least: lowest rating that is taken; None takes any.

    >>> a, b, c = Candidate("a", 1.0, "A"), Candidate("b", 0.0, "B"), Candidate("c", 1.0, "A")
    >>> [reply.rating for reply in best([a, b, c], random.Random(0), most=3)]
    [1.0, 0.0]
    >>> best([b], random.Random(0), at_least=1.0).reason
    'below the bound'
    """
    if not replies:
        return Left("no reply", {"replies": 0})
    fit = [reply for reply in replies if at_least is None or reply.rating >= at_least - ROUNDING]
    if not fit:
        highest = max(reply.rating for reply in replies)
        return Left(
            "below the bound", {"fact": "rating", "value": highest, "bound": at_least or 0.0}, {"rating": highest}
        )
    drawn = rng.sample(fit, len(fit))
    taken: dict[str, Candidate] = {}
    for reply in sorted(drawn, key=lambda reply: -reply.rating):
        taken.setdefault(reply.text, reply)
    return list(taken.values())[:most]


def strength(chosen: float, rejected: float) -> float | None:
    """S_pref = (r(y_w) − r(y_l)) / max(r(y_w), r(y_l)) (F20); None where the maximum is not above 0: undefined.

    >>> strength(4.0, 3.0), strength(1.0, 0.0), strength(0.5, -0.5), strength(-1.0, -2.0), strength(0.0, -1.0)
    (0.25, 1.0, 2.0, None, None)
    """
    highest = max(chosen, rejected)
    return None if highest <= 0 else (chosen - rejected) / highest
