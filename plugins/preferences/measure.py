"""Figures of what came out: of pairs (F20) and their mixture (F21), and how far raters follow length and place."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aftertrain.core.statistics import entropy
from aftertrain.plugins.preferences.pairing import strength


def evenness(counts: Mapping[Any, int], cells: int) -> float:
    """Entropy of shares over that of `cells` equal shares: 1 where all are alike, 0 where there is but one.

    >>> evenness({"a": 1, "b": 1}, 2), evenness({"a": 2}, 1), round(evenness({"a": 3, "b": 1}, 2), 3)
    (1.0, 0.0, 0.811)
    """
    return entropy(counts) / math.log(cells) if cells > 1 and any(counts.values()) else 0.0


def mixture_quality(diversity: float, quality: float, alpha: float) -> float:
    """Q(D) = α·D_div + (1−α)·D_qual (F21).

    >>> mixture_quality(0.8, 0.4, 0.25)
    0.5
    """
    return alpha * diversity + (1 - alpha) * quality


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Pearson's, None where either does not vary.

    >>> correlation([1, 2, 3], [2, 4, 6]), correlation([1, 1], [1, 2])
    (1.0, None)
    """
    n = len(xs)
    if n < 2:
        return None
    mean_x, mean_y = math.fsum(xs) / n, math.fsum(ys) / n
    dx, dy = [x - mean_x for x in xs], [y - mean_y for y in ys]
    spread = math.sqrt(math.fsum(d * d for d in dx) * math.fsum(d * d for d in dy))
    if spread == 0:
        return None
    return max(-1.0, min(1.0, math.fsum(a * b for a, b in zip(dx, dy, strict=True)) / spread))


@dataclass
class Lengths:
    """How ratings go with the length of replies, in characters.

    Within each prompt rating and length are taken as differences from the prompt's means, so that long replies to hard
    prompts say nothing.
    """

    ratings: list[float] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)

    def add(self, replies: Sequence[tuple[float, int]]) -> None:
        """Take up the rated replies to a prompt, each as (rating, characters)."""
        if len(replies) < 2:
            return
        mean_rating = math.fsum(rating for rating, _ in replies) / len(replies)
        mean_length = sum(length for _, length in replies) / len(replies)
        self.ratings += [rating - mean_rating for rating, _ in replies]
        self.lengths += [length - mean_length for _, length in replies]

    @property
    def correlation(self) -> float | None:
        """Pearson's, over all prompts together; None where ratings or lengths never differ."""
        return correlation(self.ratings, self.lengths)


@dataclass
class PairFigures:
    """Sums over pairs.

    Attributes:
        cells: by the prompt's source and the reply's model, over both sides of all pairs.
        longer: pairs whose chosen reply is longer, shorter, or as long, in characters.
        extra: characters by which chosen replies are longer, together.
        first: pairs whose chosen reply stands before its rejected one in the order of models and samples.
    """

    pairs: int = 0
    margins: float = 0.0
    strengths: list[float] = field(default_factory=list)
    undefined: int = 0
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    longer: Counter[str] = field(default_factory=Counter)
    extra: int = 0
    first: int = 0

    def add(
        self, source: str, models: tuple[str, str], ratings: tuple[float, float], sizes: tuple[int, int], first: bool
    ) -> None:
        """Take up a pair; of two things the chosen reply's comes first."""
        self.pairs += 1
        self.margins += ratings[0] - ratings[1]
        strong = strength(*ratings)
        if strong is None:
            self.undefined += 1
        else:
            self.strengths.append(strong)
        self.cells.update((source, model) for model in models)
        self.longer["longer" if sizes[0] > sizes[1] else "shorter" if sizes[0] < sizes[1] else "same"] += 1
        self.extra += sizes[0] - sizes[1]
        self.first += first

    def told(self, alpha: float, models: Iterable[str]) -> dict[str, object]:
        """As facts for a report.

        D_div (F21) is the evenness of the pairs' replies over all cells of a source and a model that there could be;
        D_qual the mean strength (F20), each held at 1, of the pairs of which it is defined.

        Args:
            models: all that replied.
        """
        sources = {source for source, _ in self.cells}
        diversity = evenness(self.cells, len(sources) * len(list(models)))
        held = [min(1.0, value) for value in self.strengths]
        quality = math.fsum(held) / len(held) if held else None
        whole = None if quality is None else mixture_quality(diversity, quality, alpha)
        return {
            "pairs": self.pairs,
            "margin": _mean(self.margins, self.pairs),
            "strength": _mean(math.fsum(self.strengths), len(self.strengths)),
            "strength_undefined": self.undefined,
            "diversity": diversity,
            "quality": quality,
            "mixture_quality": whole,
            "chosen_longer": _mean(self.longer["longer"] + 0.5 * self.longer["same"], self.pairs),
            "chosen_extra_characters": _mean(self.extra, self.pairs),
            "chosen_first": _mean(self.first, self.pairs),
        }


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None
