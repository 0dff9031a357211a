"""Counts and figures over all prompts and replies of a stage, and what they say in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aftertrain.core.records import Problem
from aftertrain.plugins.preferences.choosing import Rated
from aftertrain.plugins.preferences.measure import Lengths, PairFigures
from aftertrain.plugins.preferences.rating import Rated as RatedBlock
from aftertrain.plugins.preferences.settings import PreferencesSettings

USED = "used"
RATINGS = 50
"""Different ratings of which counts are told."""


@dataclass
class Tally:
    """What became of prompts and replies.

    Attributes:
        prompts: by how they ended.
        replies: by model, and how they ended.
        ratings: by model, how many replies were rated, and the sum.
        spread: rated replies by rating.
        outcomes: verdicts by verifier or aspect.
        order: of a judge of pairs.
        unrated: the first reply that the rater failed on, in the rater's words.
    """

    prompts: Counter[str] = field(default_factory=Counter)
    replies: dict[str, Counter[str]] = field(default_factory=dict)
    ratings: dict[str, tuple[int, float]] = field(default_factory=dict)
    spread: Counter[float] = field(default_factory=Counter)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    order: Counter[str] = field(default_factory=Counter)
    lengths: Lengths = field(default_factory=Lengths)
    pairs: PairFigures = field(default_factory=PairFigures)
    unrated: str = ""

    def block(self, rated: RatedBlock) -> None:
        """Take up what a rater said of a block."""
        for name, counts in rated.outcomes.items():
            self.outcomes.setdefault(name, Counter()).update(counts)
        self.order.update(rated.order)

    def reply(self, rated: Rated, state: str) -> None:
        """Take up a reply that ended so."""
        reply, rating = rated
        self.replies.setdefault(reply.model, Counter())[state] += 1
        if rating.value is None:
            self.unrated = self.unrated or rating.detail
            return
        count, total = self.ratings.get(reply.model, (0, 0.0))
        self.ratings[reply.model] = count + 1, total + rating.value
        self.spread[round(rating.value, 6)] += 1

    def prompt(self, prompt: Problem, replies: Sequence[Rated], ended: str, pair: tuple[Rated, Rated] | None) -> None:
        """Take up a prompt with all replies to it, in the order of models and numbers."""
        self.prompts[ended] += 1
        self.lengths.add([(rating.value, len(reply.text)) for reply, rating in replies if rating.value is not None])
        if pair is None:
            return
        (better, high), (worse, low) = pair
        assert high.value is not None
        assert low.value is not None
        places = [reply.id for reply, _ in replies]
        self.pairs.add(
            prompt.source,
            (better.model, worse.model),
            (high.value, low.value),
            (len(better.text), len(worse.text)),
            places.index(better.id) < places.index(worse.id),
        )

    def nothing(self) -> str:
        """That no row came out, and why."""
        replies = sum(self.replies.values(), Counter[str]())
        ended = ", ".join(f"{count:,} {reason}" for reason, count in self.prompts.most_common())
        states = ", ".join(f"{count:,} {state}" for state, count in replies.most_common(5))
        first = f"; the first that could not be rated: {self.unrated}" if self.unrated else ""
        return f"no row came out of {sum(self.prompts.values()):,} prompts ({ended}); of their replies {states}{first}"

    def failures(self) -> Iterator[str]:
        """How many replies raters failed on."""
        for name, outcomes in self.outcomes.items():
            if failed := outcomes["error"] + outcomes["timeout"]:
                total = sum(outcomes.values())
                yield (
                    f"rating: {name} failed on {failed:,} of {total:,} replies ({failed / total:.0%}), which are left "
                    f"out; the first: {self.unrated or 'no detail'}"
                )

    def figures(self, settings: PreferencesSettings) -> dict[str, Any]:
        """All that was counted and measured, as JSON."""
        models = {
            model.called: {
                "policy": "on" if model.on_policy else "off",
                "replies": dict(self.replies.get(model.called, {})),
                "rated": self.ratings.get(model.called, (0, 0.0))[0],
                "mean_rating": _mean(*self.ratings.get(model.called, (0, 0.0))),
            }
            for model in settings.models
        }
        figures: dict[str, Any] = {
            "prompts": dict(self.prompts),
            "models": models,
            "ratings": {f"{rating:g}": count for rating, count in sorted(self.spread.items())[:RATINGS]},
            "verdicts": {name: dict(counts) for name, counts in self.outcomes.items()},
            "length_correlation": self.lengths.correlation,
            "order": _order(self.order),
        }
        if settings.output == "pairs":
            figures["pairs"] = self.pairs.told(settings.diversity_weight, models)
        return figures


def in_short(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that a report shows beside the rows: one number each."""
    short = {f"mean rating of {name}": model["mean_rating"] for name, model in figures["models"].items()}
    short["correlation of rating and length"] = figures["length_correlation"]
    if figures["order"] is not None:
        short["share of comparisons that follow the first place"] = figures["order"]["first"]
        short["share of comparisons that follow the second place"] = figures["order"]["second"]
    named = {
        "margin": "mean margin",
        "strength": "mean strength",
        "strength_undefined": "pairs of undefined strength",
        "diversity": "diversity",
        "quality": "quality",
        "mixture_quality": "mixture quality",
        "chosen_longer": "share of pairs whose chosen reply is longer",
    }
    short |= {words: figures["pairs"][name] for name, words in named.items() if "pairs" in figures}
    return {name: value for name, value in short.items() if value is not None}


def _order(order: Mapping[str, int]) -> dict[str, Any] | None:
    """How a judge of pairs follows the place; None where each reply was rated by itself, which has none."""
    total = sum(order.values())
    if not total:
        return None
    return {"comparisons": total, **{name: order.get(name, 0) / total for name in ("first", "second", "neither")}}


def _mean(count: int, total: float) -> float | None:
    return total / count if count else None
