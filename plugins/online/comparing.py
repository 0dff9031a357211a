"""A judge of pairs as a reward: each reply against the others to its prompt (OAIF, arXiv 2402.04792; F25)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from aftertrain.core.errors import RunError
from aftertrain.core.preference import Preference, in_both_orders
from aftertrain.core.records import Check, Verdict, VerificationCase
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.rollout import Rollout

ALONE = "there is no other reply to the prompt to compare it with"


def verdicts_by_comparison(verifier: Verifier[Any], asked: Sequence[tuple[Rollout, Check]]) -> list[Verdict]:
    """For each reply the mean of what the judge prefers it by to every other reply to its prompt, in both orders.

    1 is better than all others, 0 worse than all, ½ as good. Replies of one text are as good as each other, and the
    judge is not asked. A reply of which a comparison failed gets that verdict. All pairs are asked in one batch.
    """
    groups: dict[int, list[int]] = {}
    for place, (rollout, _) in enumerate(asked):
        groups.setdefault(rollout.group, []).append(place)
    pairs = [pair for places in groups.values() for pair in combinations(places, 2)]
    unlike = [pair for pair in pairs if asked[pair[0]][0].completion.text != asked[pair[1]][0].completion.text]
    found: dict[tuple[int, int], Preference | Verdict] = dict.fromkeys(pairs, Preference(0.5, 0.5))
    found |= zip(unlike, in_both_orders(verifier, [_case(asked, *pair) for pair in unlike]), strict=True)
    values: list[list[float]] = [[] for _ in asked]
    failed: dict[int, Verdict] = {}
    for (first, second), preference in found.items():
        if isinstance(preference, Verdict):
            failed |= {place: preference for place in (first, second) if place not in failed}
        else:
            values[first].append(preference.value)
            values[second].append(1 - preference.value)
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


def _case(asked: Sequence[tuple[Rollout, Check]], first: int, second: int) -> VerificationCase:
    (rollout, check), (other, _) = asked[first], asked[second]
    problem, truth = rollout.prompt.problem, check.ground_truth
    return VerificationCase(
        id=f"{rollout.id} {other.id}",
        prompt="\n".join(message.content for message in problem.prompt if message.role == "user"),
        response=rollout.completion.text,
        ground_truth={
            "other": other.completion.text,
            "reference": truth.get("reference") if isinstance(truth, Mapping) else None,
        },
        source=problem.source,
        thoughts=rollout.prompt.thoughts,
    )
