"""The selection interface: which problems an online step asks, and from which groups of replies it learns.

    class Mixed(Selection[SelectionSettings]):
        def keep(self, group: Group) -> bool:
            return 0 < group.verified < len(group.rewards)

What decides is told by the seed, the settings and what earlier steps found, never by what came in first: problems are
asked, and groups kept, in the order of their tickets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar, TypeVar

from aftertrain.core.component import Component
from aftertrain.core.settings import Settings


class SelectionSettings(Settings):
    """Base of a selection's settings.

    Attributes:
        planned: whether a step asks just the problems that the stage's plan gives it, and learns from all: nothing is
            drawn, dropped or refilled.
        samples: fewest replies to a prompt that it needs to go by.
    """

    planned: ClassVar[bool] = False
    samples: ClassVar[int] = 1


S = TypeVar("S", bound=SelectionSettings)


@dataclass(frozen=True, slots=True)
class Group:
    """The judged replies to one problem.

    Attributes:
        problem: its id.
        rewards: of each reply, in order, but of those that nobody could judge (`reward.on_environment`).
        verified: how many were verified.
    """

    problem: str
    rewards: tuple[float, ...]
    verified: int

    @property
    def constant(self) -> bool:
        """Whether all replies earned the same: of a method that compares them, nothing is learnt."""
        return len(set(self.rewards)) <= 1


@dataclass
class Past:
    """What became of each problem so far; it travels in the stage's checkpoints.

    Attributes:
        asked: replies made, by problem.
        verified: replies verified, by problem.
    """

    asked: dict[str, int] = field(default_factory=dict)
    verified: dict[str, int] = field(default_factory=dict)

    def add(self, group: Group) -> None:
        """Count a group."""
        self.asked[group.problem] = self.asked.get(group.problem, 0) + len(group.rewards)
        self.verified[group.problem] = self.verified.get(group.problem, 0) + group.verified

    def rate(self, problem: str) -> float | None:
        """Share of its replies that were verified; None before any was made.

        >>> past = Past()
        >>> past.add(Group("a", (1.0, 0.0), 1))
        >>> past.rate("a"), past.rate("b")
        (0.5, None)
        """
        asked = self.asked.get(problem, 0)
        return self.verified[problem] / asked if asked else None

    def state(self) -> dict[str, Any]:
        """As plain data."""
        return {name: [count, self.verified[name]] for name, count in self.asked.items()}

    @classmethod
    def of(cls, state: Mapping[str, Sequence[int]]) -> Past:
        """From what `state` gave."""
        return cls({name: two[0] for name, two in state.items()}, {name: two[1] for name, two in state.items()})


class Selection(Component[S]):
    """Chooses problems and groups. Subclasses are stateless: what they go by is in the stage's `Past`."""

    kind: ClassVar[str] = "selection"
    Config: ClassVar[type[Settings]] = SelectionSettings

    @property
    def planned(self) -> bool:
        """Of its settings."""
        return self.settings.planned

    @property
    def rounds(self) -> int:
        """How often a step may ask, the first time included, before it makes do with what it has."""
        return 1

    def asks(self, wanted: int) -> int:
        """How many problems are asked for so many groups that are still wanted."""
        return wanted

    def draw(self, count: int, stream: Iterator[int], problems: Sequence[str], past: Past, seed: int) -> list[int]:
        """Which problems are asked next, each once, as places among `problems`; what the step has asked is not again.

        Args:
            stream: the places in shuffled order, epoch after epoch, without those that this step has asked; what is
                taken from it is asked for good. It ends where the step has asked every problem.
            problems: all ids.
            seed: of this draw alone.
        """
        return list(islice(stream, count))

    def keep(self, group: Group) -> bool:
        """Whether a finished group is worth learning from; what is not is counted, and another is asked for."""
        return True

    def choose(self, groups: Sequence[Group], wanted: int) -> Sequence[int]:
        """Of more groups than are wanted, the places of those that the step learns from, in order: the first ones."""
        return range(min(wanted, len(groups)))
