"""What a reader must know before trusting a score, and which scores do not compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.events import Health, ScoreRow
from aftertrain.core.ground.wording import at_temperature, identity
from aftertrain.core.records import UNJUDGED
from aftertrain.plugins.evaluation.suite import ReadyTask

ALARM = 0.05
"""Share of replies that are cut, empty, or without an answer in the asked form, above which a warning is raised."""
CHANGED = "would be worth something else by the other setting of 'answer'"
LOOK = "look at samples/instances.jsonl"


def check_comparable(tasks: Sequence[ReadyTask], stage: str, against: str, there: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to compare scores of unlike tasks.

    Raises:
        DataError: no task is scored by both stages, or one has another fingerprint there.
    """
    prints = {str(score["task"]): str(score["fingerprint"]) for score in there}
    shared = [task for task in tasks if task.name in prints]
    if not shared:
        raise DataError(
            f"stage {stage!r} cannot be compared with {against!r}: no task in common "
            f"({', '.join(task.name for task in tasks)}; {', '.join(sorted(prints)) or 'none'})"
        )
    unlike = [task for task in shared if task.fingerprint != prints[task.name]]
    if unlike:
        named = "; ".join(
            f"{task.name} is {identity(task.fingerprint)} in {stage!r} and {identity(prints[task.name])} in {against!r}"
            for task in unlike
        )
        raise DataError(
            f"stage {stage!r} cannot be compared with {against!r}, because these tasks differ: {named}. "
            "Give both stages the same data, verifier, limit and max_new_tokens"
        )


def alarms(rows: Sequence[Health]) -> list[str]:
    """What a reader must know before trusting a score."""
    found = []
    for row in rows:
        unformed = 0 if row.formatted is None else round((1 - row.formatted) * row.n)
        cut = f"were cut at the token limit and scored as they stand{_whole(row)}"
        for count, what, cure in (
            (row.truncated, cut, "raise max_new_tokens"),
            (row.empty, "are empty", LOOK),
            (unformed, "have no answer in the asked form", LOOK),
            (row.other_rule, CHANGED, "say which was read"),
        ):
            if count is not None and count > ALARM * row.n:
                found.append(f"{_place(row)}: {count} of {row.n} replies ({count / row.n:.0%}) {what}; {cure}")
    return found


def doubts(rows: Sequence[ScoreRow], healths: Sequence[Health]) -> list[str]:
    """Of each task and temperature how many replies could not be judged, be it one, and what that leaves open."""
    replies = {(row.task, row.temperature): row for row in healths}
    found = []
    for row in rows:
        if not row.primary or not row.unjudged:
            continue
        cell = replies[row.task, row.temperature]
        kinds = ", ".join(f"{cell.outcomes[kind]} {kind}" for kind in UNJUDGED if cell.outcomes.get(kind))
        what = "is withheld" if row.withheld else f"is over {row.counted} questions"
        if row.lowest is not None:
            what += f", and lies between {row.lowest:.3f} and {row.highest:.3f} over all of them"
        place = (row.task, row.temperature)
        others = [o.metric for o in rows if (o.task, o.temperature) == place and o.withheld and not o.primary]
        also = f" (withheld, too: {', '.join(others)})" if others else ""
        found.append(
            f"{_place(row)}: {row.unjudged} of {cell.n} replies could not be judged ({kinds}): {row.metric} {what}"
            f"{also}; see 'detail' in samples/instances.jsonl"
        )
    return found


def _whole(row: Health) -> str:
    """What the score is without them."""
    return "" if row.completed is None else f" ({row.completed:.3f} over the {row.n_completed} whole ones)"


def _place(row: ScoreRow | Health) -> str:
    return f"{row.task}{at_temperature(row.temperature)}"
