"""F18–F21 by hand: which replies become a pair, what a pair is worth, and what a mixture of pairs is worth."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from aftertrain.core.preference import mean_of_aspects
from aftertrain.core.records import Verdict
from aftertrain.plugins.preferences.measure import Lengths, PairFigures, correlation, evenness, mixture_quality
from aftertrain.plugins.preferences.pairing import Candidate, Left, best, pair, strength
from aftertrain.plugins.preferences.rating import worth

A, B, C, D = (Candidate(name, rating, name) for name, rating in (("a", 4.5), ("b", 3.0), ("c", 4.5), ("d", 1.0)))


def ids(found: tuple[Candidate, Candidate] | Left) -> tuple[str, str]:
    assert not isinstance(found, Left)
    return found[0].id, found[1].id


def reason(found: object) -> str:
    assert isinstance(found, Left)
    return found.reason


def test_chosen_is_a_highest_reply_and_rejected_a_lower_one_by_the_seed_f18() -> None:
    """Of 4.5, 3, 4.5 and 1 each of the two highest is chosen, each of the two lower ones rejected, about as often."""
    seen = Counter(ids(pair([A, B, C, D], random.Random(seed))) for seed in range(400))
    assert set(seen) == {("a", "b"), ("a", "d"), ("c", "b"), ("c", "d")}
    assert min(seen.values()) > 70
    assert ids(pair([A, B, C, D], random.Random(7))) == ids(pair([A, B, C, D], random.Random(7)))
    assert {ids(pair([A, B, D], random.Random(seed), rejected="lowest"))[1] for seed in range(20)} == {"d"}


def test_ties_make_no_pair_f18() -> None:
    """Means of the same ratings may differ in the last bit: (0.1 + 0.2)/2 and 0.3/2 are one rating."""
    assert reason(pair([A, C], random.Random(0))) == "tie"
    low, high = Candidate("x", 0.3 / 2, "x"), Candidate("y", (0.1 + 0.2) / 2, "y")
    assert low.rating != high.rating
    assert reason(pair([low, high], random.Random(0))) == "tie"
    assert reason(pair([A], random.Random(0))) == "one reply"
    assert reason(pair([], random.Random(0))) == "no reply"
    same = Candidate("z", 1.0, "a")
    assert reason(pair([A, same], random.Random(0))) == "same text"


def test_a_pair_is_kept_above_the_margin_alone_f19() -> None:
    """4.5 − 3 = 1.5 is above τ = 1.4, and not above τ = 1.5; nor is 0.3 − 0.2 above 0.1, whatever the floats say."""
    assert ids(pair([A, B], random.Random(0), margin=1.4)) == ("a", "b")
    assert reason(pair([A, B], random.Random(0), margin=1.5)) == "margin"
    two = [Candidate("x", 0.1 * 3, "x"), Candidate("y", 0.2, "y")]
    assert two[0].rating - two[1].rating > 0.1
    assert reason(pair(two, random.Random(0), margin=0.1)) == "margin"


def test_strength_is_relative_and_undefined_where_nothing_is_above_0_f20() -> None:
    """(4.5 − 3)/4.5 = 1/3; (2 − −1)/2 = 1.5; of −1 against −3, and of 0 against −1, the maximum divides by nothing."""
    assert strength(4.5, 3.0) == pytest.approx(1 / 3)
    assert strength(2.0, -1.0) == 1.5
    assert strength(-1.0, -3.0) is None
    assert strength(0.0, -1.0) is None


def test_the_quality_of_a_mixture_f21() -> None:
    """Three pairs of one source by two models: chosen m, m, m and rejected m, n, n, that is 4 of m and 2 of n.

    D_div = (−⅔·ln ⅔ − ⅓·ln ⅓)/ln 2 = 0.918; strengths (4−3)/4 = ¼, (2−1)/2 = ½ and one undefined, so that
    D_qual = ⅜; with α = ¼ Q = ¼·0.918 + ¾·0.375 = 0.511.
    """
    figures = PairFigures()
    figures.add("s", ("m", "m"), (4.0, 3.0), (10, 8), True)
    figures.add("s", ("m", "n"), (2.0, 1.0), (5, 8), True)
    figures.add("s", ("m", "n"), (-1.0, -2.0), (6, 6), False)
    told = figures.told(0.25, ["m", "n"])
    diversity = (-2 / 3 * math.log(2 / 3) - 1 / 3 * math.log(1 / 3)) / math.log(2)
    assert told["diversity"] == pytest.approx(diversity)
    assert told["quality"] == pytest.approx(0.375)
    assert told["mixture_quality"] == pytest.approx(0.25 * diversity + 0.75 * 0.375)
    assert told["strength_undefined"] == 1
    assert told["margin"] == pytest.approx(1.0)
    assert told["chosen_longer"] == pytest.approx((1 + 0.5) / 3)
    assert told["chosen_extra_characters"] == pytest.approx((2 - 3 + 0) / 3)
    assert told["chosen_first"] == pytest.approx(2 / 3)
    assert mixture_quality(1.0, 0.0, 1.0) == 1.0
    assert evenness(Counter("aab"), 1) == 0.0


def test_no_pair_has_no_quality() -> None:
    assert PairFigures().told(0.5, ["m"])["mixture_quality"] is None


def test_length_is_compared_within_prompts() -> None:
    """Long replies to an easy prompt and short ones to a hard one say nothing; within each, longer is rated higher.

    Over all together: differences 2, 1, −1, −2 and −44, −46, 46, 44 give −268/√(10·8104) = −0.941.
    """
    lengths = Lengths()
    lengths.add([(5.0, 10), (4.0, 8)])
    lengths.add([(2.0, 100), (1.0, 98)])
    lengths.add([(3.0, 1000)])
    assert lengths.correlation == pytest.approx(1.0)
    assert correlation([5, 4, 2, 1], [10, 8, 100, 98]) == pytest.approx(-268 / math.sqrt(10 * 8104))
    assert Lengths().correlation is None


def test_the_best_are_above_the_bound_and_of_different_texts() -> None:
    twin = Candidate("e", 4.5, "a")
    found = best([A, B, D, twin], random.Random(1), at_least=3.0, most=4)
    assert not isinstance(found, Left)
    assert [reply.text for reply in found] == ["a", "b"]
    assert reason(best([D], random.Random(0), at_least=3.0)) == "below the bound"


def test_an_aspect_that_does_not_apply_is_missing_and_not_minus_one_f18() -> None:
    """5, 3 and N/A have the mean 4; with −1 for N/A it would be 2⅓."""
    scale = (1.0, 5.0)
    aspects = {"help": Verdict.scored(1.0), "follow": Verdict.scored(0.5), "honest": Verdict.abstained("n/a")}
    assert worth(mean_of_aspects(aspects), scale) == 4.0
    assert worth(mean_of_aspects({"honest": Verdict.abstained()}), scale) is None
    assert worth(mean_of_aspects({**aspects, "true": Verdict.unparsable()}), scale) is None
