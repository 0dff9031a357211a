"""Several raters of one reply: Σ wᵢ·rᵢ, with what each of them said."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aftertrain.core.records import JSON, Problem
from aftertrain.plugins.preferences.rating import Rated, Rater, Rating
from aftertrain.plugins.preferences.reply import Reply


@dataclass(frozen=True)
class Part:
    """One of the raters.

    Attributes:
        name: what it is called.
        weight: w.
    """

    name: str
    weight: float
    rater: Rater


class Weighted(Rater):
    """Rates by all of them; a reply that one could not rate has no rating, for no number says what that one would say.

    Facts: each rater's own rating by its name, and its facts as `NAME.FACT`.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._seen: dict[str, dict[str, Problem]] = {part.name: {} for part in parts}

    def prompts(self, prompts: Sequence[Problem]) -> Sequence[Problem]:
        """As they are; each rater sees them as it needs them, a judge none of the checks that verifiers add."""
        for part in self._parts:
            self._seen[part.name] |= {prompt.id: prompt for prompt in part.rater.prompts(prompts)}
        return prompts

    def objections(self, prompts: Sequence[Problem]) -> dict[str, str]:
        """Those of each."""
        found: dict[str, str] = {}
        for part in self._parts:
            seen = self._seen[part.name]
            for id, reason in part.rater.objections([seen[prompt.id] for prompt in prompts]).items():
                found.setdefault(id, f"{part.name}: {reason}")
        return found

    def rate(self, prompts: Mapping[str, Problem], replies: Sequence[Reply]) -> Rated:
        """One rater after the other."""
        rated = [part.rater.rate({id: self._seen[part.name][id] for id in prompts}, replies) for part in self._parts]
        outcomes: dict[str, Counter[str]] = {}
        for part, own in zip(self._parts, rated, strict=True):
            outcomes |= {f"{part.name}.{name}": counts for name, counts in own.outcomes.items()}
        ratings = {
            reply.id: together([(part, own.ratings[reply.id]) for part, own in zip(self._parts, rated, strict=True)])
            for reply in replies
        }
        return Rated(ratings, outcomes, sum((own.order for own in rated), Counter[str]()))

    def close(self) -> None:
        """Free what each holds."""
        for part in self._parts:
            part.rater.close()


def together(ratings: Sequence[tuple[Part, Rating]]) -> Rating:
    """One rating of those of all raters: Σ wᵢ·rᵢ."""
    facts: dict[str, JSON] = {}
    for part, rating in ratings:
        facts[part.name] = rating.value
        facts |= {f"{part.name}.{name}": value for name, value in rating.facts.items()}
    for part, rating in ratings:
        if rating.value is None:
            return replace(rating, unrated=f"{part.name}: {rating.unrated}", facts=facts)
    return Rating(math.fsum(part.weight * (rating.value or 0.0) for part, rating in ratings), facts=facts)
