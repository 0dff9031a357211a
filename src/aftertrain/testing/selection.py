"""What a selection promises: draws that are there, that the seed decides, and choices among what there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aftertrain.core.selection import Group, Past, Selection
from aftertrain.testing.promise import Subject, require

PROBLEMS = tuple(f"p{i}" for i in range(12))
GROUPS = tuple(
    Group(name, rewards, sum(reward > 0 for reward in rewards))
    for name, rewards in zip(PROBLEMS, [(1.0, 0.0), (0.0, 0.0), (1.0, 1.0), (5.0, -5.0), (0.0, 1.0)], strict=False)
)


def draws_are_of_the_problems_there_are(subject: Subject) -> None:
    """Each draw names places among the problems, each once, at most as many as are asked for."""
    for past in _pasts():
        for count in (1, 4, 40):
            drawn = _drawn(subject, count, past)
            require(len(drawn) <= count, f"asked for {count} problems it draws {len(drawn)}")
            require(len(set(drawn)) == len(drawn), "it draws a problem twice at once")
            require(all(0 <= place < len(PROBLEMS) for place in drawn), f"it draws {drawn} of {len(PROBLEMS)} problems")
            require(bool(drawn), "it draws nothing where nothing was asked before")


def the_seed_decides(subject: Subject) -> None:
    """The same seed, stream and past give the same draw, and the past is left as it was."""
    for past in _pasts():
        before = past.state()
        first, second = (_drawn(subject, 5, past) for _ in range(2))
        require(first == second, "the same draw comes out otherwise the second time")
        require(past.state() == before, "it changes the past; the stage counts what is judged")


def asks_for_enough(subject: Subject) -> None:
    """It asks for at least as many problems as groups are wanted, and at least once."""
    selection = _selection(subject)
    require(selection.rounds >= 1, f"rounds is {selection.rounds}")
    for wanted in (1, 3, 100):
        require(selection.asks(wanted) >= wanted, f"for {wanted} groups it asks {selection.asks(wanted)} problems")


def choices_are_among_the_groups(subject: Subject) -> None:
    """`choose` names places of the groups it is given, each once, at most as many as are wanted; `keep` is a bool."""
    selection = _selection(subject)
    for wanted in (1, 3, 9):
        chosen = [*selection.choose(GROUPS, wanted)]
        good = len(set(chosen)) == len(chosen) <= wanted and all(0 <= place < len(GROUPS) for place in chosen)
        require(good, f"of {len(GROUPS)} groups, {wanted} wanted, it chooses {chosen}")
    kept = [selection.keep(group) for group in GROUPS]
    require(all(isinstance(said, bool) for said in kept), f"keep says {kept}")
    require(any(kept), "it keeps no group at all, not one whose replies differ")


def _pasts() -> Iterator[Past]:
    yield Past()
    past = Past()
    for group in GROUPS:
        past.add(group)
    yield past


def _drawn(subject: Subject, count: int, past: Past) -> list[int]:
    return _selection(subject).draw(count, iter(range(len(PROBLEMS))), PROBLEMS, past, 7)


def _selection(subject: Subject) -> Selection[Any]:
    selection: Selection[Any] = subject.component()
    return selection
