"""Models compared by a judge on the replies that finished evaluations saved (F50)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from aftertrain.api.finished import FinishedEvaluation, finished_evaluation
from aftertrain.core.errors import RunError, unknown
from aftertrain.core.ground.wording import at_temperature

if TYPE_CHECKING:
    from aftertrain.core.arena import Duel
    from aftertrain.core.preference import Preference
    from aftertrain.core.records import VerificationCase
    from aftertrain.core.stage import SavedReply
    from aftertrain.core.statistics import Interval
    from aftertrain.core.verifier import Verifier

AT_ONCE = 256
"""Pairs that the judge is asked about together."""
SEED = 0

Key = tuple[str, str, float | None, int]


@dataclass(frozen=True)
class Arena:
    """What `arena` found.

    Attributes:
        sides: `RUN:STAGE` of each model.
        judge: the verifier's name.
        duels: of each two sides, in the order of `sides`.
        strengths: Bradley–Terry strengths with intervals over prompts, their mean 0.
        errors: why pairs could not be judged, by words of the judge, the commonest first.
    """

    sides: tuple[str, ...]
    judge: str
    duels: Mapping[tuple[str, str], Duel]
    strengths: Mapping[str, Interval]
    errors: tuple[tuple[str, int], ...] = ()


def arena(
    *sides: str | os.PathLike[str],
    judge: str,
    settings: Mapping[str, Any] | Iterable[str] = (),
    tasks: Sequence[str] = (),
    limit: int | None = None,
) -> Arena:
    """Ask a judge which of two models' replies to one prompt is better, in both orders, for each two models.

    Args:
        sides: finished evaluations, at least two, by a run's folder or its name under `runs/`, with `:STAGE` where it
            has several.
        judge: a verifier of pairs (`pairwise`, or one of your own).
        settings: of the judge, a mapping or `setting=value` texts.
        tasks: only the replies of these; all by default.
        limit: at most so many prompts, a fixed random subset.

    Raises:
        RunError: a side is none, or the sides answered no prompt in common.
        RecipeError: unknown judge or settings. AftertrainError: the judge cannot be asked.
    """
    from collections import Counter

    from aftertrain.api.evaluation import isolated_verifier
    from aftertrain.core.arena import duel, preflight, strengths

    preflight()
    ended = [finished_evaluation(side) for side in sides]
    names = tuple(side.name for side in ended)
    if len(names) < 2:
        raise RunError("an arena needs at least two evaluations, as RUN:STAGE each")
    if len(set(names)) < len(names):
        raise RunError(f"{', '.join(names)}: an evaluation is named twice")
    shared = _shared({side.name: _replies(side, tasks) for side in ended}, limit)
    verifier = isolated_verifier(judge, settings)
    duels, errors = {}, Counter[str]()
    verdicts: list[tuple[int, int, int, float]] = []
    try:
        for first, second in combinations(range(len(names)), 2):
            pairs = [(replies[names[first]], replies[names[second]]) for replies in shared]
            found = _judged(verifier, [_case(*pair) for pair in pairs])
            preferences = {place: entry for place, entry in enumerate(found) if not isinstance(entry, str)}
            errors.update(entry for entry in found if isinstance(entry, str))
            if not preferences:
                raise RunError(
                    f"{names[first]} and {names[second]}: the judge preferred none of {len(found):,} pairs: "
                    f"{errors.most_common(1)[0][0]}"
                )
            duels[names[first], names[second]] = duel(list(preferences.values()), len(found) - len(preferences))
            verdicts += [(place, first, second, (preference.sign + 1) / 2) for place, preference in preferences.items()]
    finally:
        verifier.close()
    return Arena(names, judge, duels, strengths(names, verdicts, seed=SEED), tuple(errors.most_common()))


def _replies(side: FinishedEvaluation, tasks: Sequence[str]) -> dict[Key, SavedReply]:
    from aftertrain.core.stage import SavesReplies

    stage = side.built()
    if not isinstance(stage, SavesReplies):
        raise RunError(f"{side.name}: a stage of its kind saves no replies")
    replies = {reply.question: reply for reply in stage.replies(side.folder)}
    there = sorted({task for task, *_ in replies})
    for task in tasks:
        if task not in there:
            raise RunError(f"{side.name}: {unknown('task with replies', task, there)}")
    return {key: reply for key, reply in replies.items() if not tasks or key[0] in tasks}


def _shared(replies: Mapping[str, Mapping[Key, SavedReply]], limit: int | None) -> list[dict[str, SavedReply]]:
    """The replies to each prompt that all sides were asked in the same words; of several the coldest first one.

    Raises:
        RunError: there is none.
    """
    import random

    first, *others = replies.values()
    both = [
        key
        for key in sorted(first, key=lambda key: key[2:])
        if all(key in other and other[key].asked == first[key].asked for other in others)
    ]
    # Of several replies to a question one: they are not independent of each other.
    coldest: dict[tuple[str, str], Key] = {}
    for key in both:
        coldest.setdefault(key[:2], key)
    keys = list(coldest.values())
    if not keys:
        raise RunError(
            f"{', '.join(replies)}: no prompt that all of them answered; tasks, questions, temperatures and wording "
            "must be the same"
        )
    if limit is not None and limit < len(keys):
        keys = [keys[place] for place in sorted(random.Random(SEED).sample(range(len(keys)), limit))]
    return [{name: side[key] for name, side in replies.items()} for key in keys]


def _case(first: SavedReply, second: SavedReply) -> VerificationCase:
    from aftertrain.core.records import VerificationCase

    task, instance, temperature, sample = first.question
    return VerificationCase(
        f"{task}/{instance}/{at_temperature(temperature, '')}/{sample}",
        first.asked,
        _answer(first),
        {"other": _answer(second), "reference": None},
        task,
        part="answer",
    )


def _answer(reply: SavedReply) -> str:
    """What follows the reply's thoughts, by its own model's marks; all of one whose thoughts never end."""
    from aftertrain.core.records import Thoughts
    from aftertrain.core.text.answer import marked, split

    thoughts = reply.thoughts or Thoughts()
    tags = (thoughts.opening, thoughts.closing)
    text = split(marked(reply.text, reply.with_special, tags), thoughts, block=False).text
    return reply.text if text is None else text


def _judged(verifier: Verifier[Any], cases: Sequence[VerificationCase]) -> list[Preference | str]:
    """A preference for each case, or why there is none."""
    from aftertrain.core.preference import in_both_orders
    from aftertrain.core.records import Verdict

    found: list[Preference | str] = []
    for start in range(0, len(cases), AT_ONCE):
        found += [
            f"{entry.outcome}: {entry.detail}" if isinstance(entry, Verdict) else entry
            for entry in in_both_orders(verifier, cases[start : start + AT_ONCE])
        ]
    return found
