"""The built-in selections."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

from aftertrain.core.selection import Group, Past, Selection
from aftertrain.plugins.selection.settings import (
    AllSettings,
    CurriculumSettings,
    InformativeSettings,
    OversampleSettings,
)


class All(Selection[AllSettings]):
    """The problems of the stage's plan, and every reply."""

    Config = AllSettings


class Informative(Selection[InformativeSettings]):
    """Groups whose replies did not all earn the same; the others are refilled until the step is full (DAPO)."""

    Config = InformativeSettings

    @property
    def rounds(self) -> int:
        """As set."""
        return self.settings.rounds

    def keep(self, group: Group) -> bool:
        """Whether anything can be compared."""
        return not group.constant


class Oversample(Selection[OversampleSettings]):
    """Of the groups of one round those whose rewards vary most; of equals the earlier ones."""

    Config = OversampleSettings

    def asks(self, wanted: int) -> int:
        """More than wanted."""
        return math.ceil(wanted * self.settings.factor)

    def choose(self, groups: Sequence[Group], wanted: int) -> Sequence[int]:
        """By the variance of their rewards."""
        ranked = sorted(range(len(groups)), key=lambda place: (-_variance(groups[place].rewards), place))
        return sorted(ranked[:wanted])


class Curriculum(Selection[CurriculumSettings]):
    """Problems drawn without replacement by weight max(floor, exp(−((p − target)/width)²/2)).

    p is the share of a problem's replies that were verified so far; a problem never asked weighs 1.

    With keys u^(1/w), u uniform, the largest keys are such a draw (Efraimidis and Spirakis, 2006).
    """

    Config = CurriculumSettings

    def draw(self, count: int, stream: Iterator[int], problems: Sequence[str], past: Past, seed: int) -> list[int]:
        """By weight; all of them where fewer are there than asked for."""
        rng = random.Random(seed)
        keys = [math.log(1.0 - rng.random()) / self.weight(past.rate(name)) for name in problems]
        return sorted(range(len(problems)), key=lambda place: (-keys[place], place))[:count]

    def weight(self, rate: float | None) -> float:
        """Of a problem with this pass rate."""
        if rate is None:
            return 1.0
        settings = self.settings
        bell = math.exp(-0.5 * ((rate - settings.target) / settings.width) ** 2)
        return max(settings.floor, bell, 1e-6)


def _variance(rewards: Sequence[float]) -> float:
    if not rewards:
        return 0.0
    mean = sum(rewards) / len(rewards)
    return sum((reward - mean) ** 2 for reward in rewards) / len(rewards)
