"""Which answer a prompt keeps: the first, one that most others agree with, or one that the verifier finds right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aftertrain.core.records import JSON, VerificationCase
from aftertrain.core.verifier import Verifier, verdicts_of
from aftertrain.plugins.synthesis.writing import Draft

Choice = tuple[int, float]
"""Place of a prompt's answer, and the share of its answers that agree with it or are right."""


def choose(drafts: Sequence[Draft], rule: str, verifier: Verifier[Any], agreement: float) -> dict[int, Choice]:
    """The choice of each prompt by its number; one without is left out, with the reason."""
    if rule == "all":
        return {draft.number: (_first(draft), 1.0) for draft in drafts}
    if rule == "verified":
        return _verified(drafts, verifier)
    return _majority(drafts, verifier, agreement)


def _first(draft: Draft) -> int:
    return next(place for place, answer in enumerate(draft.answers) if answer)


def _verified(drafts: Sequence[Draft], verifier: Verifier[Any]) -> dict[int, Choice]:
    places = [(draft, place) for draft in drafts for place, answer in enumerate(draft.answers) if answer]
    verdicts = verdicts_of(verifier, [_case(draft, place, draft.truth) for draft, place in places])
    right: dict[int, list[int]] = {}
    said: dict[int, str] = {}
    for (draft, place), verdict in zip(places, verdicts, strict=True):
        if verdict.value is not None and verdict.value >= 1.0:
            right.setdefault(draft.number, []).append(place)
        else:
            said.setdefault(draft.number, f"{verdict.outcome}: {verdict.detail}"[:200])
    for draft in drafts:
        if draft.number not in right:
            draft.leave_out("not_right", said.get(draft.number, ""))
    return {
        draft.number: (right[draft.number][0], len(right[draft.number]) / len(draft.answers))
        for draft in drafts
        if draft.number in right
    }


def _majority(drafts: Sequence[Draft], verifier: Verifier[Any], agreement: float) -> dict[int, Choice]:
    """Each answer that is read stands once as the truth for all answers to its prompt; most votes win."""
    places = [(draft, place) for draft in drafts for place, answer in enumerate(draft.answers) if answer]
    # What an answer says is found whatever it is compared with.
    read = verdicts_of(verifier, [_case(draft, place, "0") for draft, place in places])
    said: dict[int, dict[str, int]] = {}
    for (draft, place), verdict in zip(places, read, strict=True):
        if verdict.extracted:
            said.setdefault(draft.number, {}).setdefault(verdict.extracted, place)
    ballots = [
        (draft, truth, place)
        for draft in drafts
        for truth in said.get(draft.number, {})
        for place, answer in enumerate(draft.answers)
        if answer
    ]
    agreed = verdicts_of(verifier, [_case(draft, place, truth) for draft, truth, place in ballots])
    votes: dict[int, dict[str, int]] = {number: dict.fromkeys(truths, 0) for number, truths in said.items()}
    for (draft, truth, _), verdict in zip(ballots, agreed, strict=True):
        votes[draft.number][truth] += verdict.value is not None and verdict.value >= 1.0
    chosen = {}
    for draft in drafts:
        counted = votes.get(draft.number, {})
        if not counted:
            draft.leave_out("not_read", "no answer could be read")
            continue
        truth = max(counted, key=lambda text: counted[text])
        share = counted[truth] / len(draft.answers)
        if share < agreement or (len(draft.answers) > 1 and counted[truth] < 2):
            draft.leave_out("no_majority", ", ".join(f"{text} {count}" for text, count in counted.items())[:200])
            continue
        draft.truth = truth
        chosen[draft.number] = (said[draft.number][truth], share)
    return chosen


def _case(draft: Draft, place: int, truth: JSON) -> VerificationCase:
    return VerificationCase(f"{draft.number}/{place}", draft.prompt, draft.answers[place] or "", truth, "synthesis")
