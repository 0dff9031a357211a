"""Figures by kind of instruction, of the verdicts that a score's `parts` hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from aftertrain.core.figures import UNKNOWN, Figure, Scored

Mode = Literal["loose", "strict"]


def over_kinds(name: str, mode: Mode) -> Figure:
    """The mean over kinds of the share of a kind's instructions that are followed: a rare kind weighs as a common one.

    The value of a single question is that of its own instructions.
    """

    def corpus(questions: Sequence[Sequence[Scored]]) -> float:
        asked: Counter[str] = Counter()
        followed: Counter[str] = Counter()
        for kind, follows in _verdicts((score for scores in questions for score in scores), mode):
            asked[kind] += 1
            followed[kind] += follows
        return sum(followed[kind] / count for kind, count in asked.items()) / len(asked)

    def value(scores: Sequence[Scored]) -> float:
        return _share([follows for _, follows in _verdicts(scores, mode)])

    return Figure(name, value, corpus=corpus, rising=True)


def of_kind(kind: str) -> Figure:
    """The share of one kind's instructions that are followed loosely."""

    def value(scores: Sequence[Scored]) -> float:
        return _share(verdicts(scores))

    def verdicts(scores: Sequence[Scored]) -> list[bool]:
        return [follows for name, follows in _verdicts(scores, "loose") if name == kind]

    return Figure(f"loose {kind}", value, weight=lambda scores: float(len(verdicts(scores))))


def _verdicts(scores: Iterable[Scored], mode: Mode) -> Iterable[tuple[str, bool]]:
    """Kind by kind whether it is followed; of a reply that counts as right, or as wrong, all are, or none."""
    for score in scores:
        verdicts: Any = score.parts.get(mode, ())
        whole = score.metrics["prompt_level_loose_acc"] > 0
        yield from ((kind, whole) for kind, _ in verdicts) if score.extracted == UNKNOWN else verdicts


def _share(verdicts: Sequence[bool]) -> float:
    return sum(verdicts) / len(verdicts) if verdicts else 0.0
