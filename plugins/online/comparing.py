"""A judge of pairs as a reward: each reply against the others to its prompt (OAIF, arXiv 2402.04792; F25)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from aftertrain.core.errors import RunError
from aftertrain.core.preference import Preference, in_both_orders
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.verifier import Verifier

ALONE = "there is no other reply to the prompt to compare it with"


def verdicts_by_comparison(
    judge: Verifier[Any], groups: Sequence[int], cases: Sequence[VerificationCase]
) -> list[Verdict]:
    """For each reply the mean of what the judge prefers it by to every other reply of its group, in both orders.

    1 is better than all others, 0 worse than all, ½ as good. Replies of one text are as good as each other, and the
    judge is not asked. A reply of which a comparison failed gets that verdict. All pairs are asked in one batch.
    """
    members: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    pairs = [pair for places in members.values() for pair in combinations(places, 2)]
    unlike = [(one, other) for one, other in pairs if cases[one].response != cases[other].response]
    asked = [_against(cases[one], cases[other], f"{cases[one].id} {cases[other].id}") for one, other in unlike]
    found: dict[tuple[int, int], Preference | Verdict] = dict.fromkeys(pairs, Preference(0.5, 0.5))
    found |= zip(unlike, in_both_orders(judge, asked), strict=True)
    values: list[list[float]] = [[] for _ in cases]
    failed: dict[int, Verdict] = {}
    for (one, other), preference in found.items():
        if isinstance(preference, Verdict):
            failed = {one: preference, other: preference} | failed
        else:
            values[one].append(preference.value)
            values[other].append(1 - preference.value)
    return [failed[place] if place in failed else _mean(own) for place, own in enumerate(values)]


def refuse_single_replies(verifiers: Mapping[str, Verifier[Any]], samples: int) -> None:
    """Raise RunError where a judge of pairs is to compare the one reply to a prompt."""
    for name, verifier in verifiers.items():
        if verifier.compares and samples < 2:
            raise RunError(
                f"the reward {name!r} compares replies to one prompt: batch.samples_per_prompt must be 2 or more"
            )


def _mean(values: Sequence[float]) -> Verdict:
    if not values:
        return Verdict.error(ALONE)
    return Verdict.scored(sum(values) / len(values), detail=f"compared with {len(values)} in both orders")


def _against(case: VerificationCase, other: VerificationCase, id: str) -> VerificationCase:
    truth = case.ground_truth
    reference = truth.get("reference") if isinstance(truth, Mapping) else None
    return replace(case, id=id, ground_truth={"other": other.response, "reference": reference})
