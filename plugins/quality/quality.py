"""The quality score of a row, Q(d) = Σ wᵢ·qᵢ(d) (F1), over facts that operators before it found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aftertrain.core.operator import Row, Scorer
from aftertrain.plugins.quality.facts import number
from aftertrain.plugins.quality.settings import QualitySettings, Scale


class Quality(Scorer[QualitySettings]):
    """Facts: `score`, Q(d) in [0, 1], null where a fact has no value; `parts`, each qᵢ(d) by the fact that it is made
    of."""

    Config = QualitySettings
    finds = ("score", "parts")

    def reads(self) -> Sequence[str]:
        """Those of its parts."""
        return [part.fact for part in self.settings.parts]

    def facts(self, row: Row) -> Mapping[str, Any]:
        """Of one row.

        Raises:
            DataError: a fact was not found, or is no number.
        """
        settings = self.settings
        parts = [scaled(number(row, part.fact), part) for part in settings.parts]
        found: dict[str, float | None] = {}
        for part, value in zip(settings.parts, parts, strict=True):
            name = part.fact if part.fact not in found else f"{part.fact}#2"
            found[name] = None if value is None else round(value, 6)
        known = [value for value in parts if value is not None]
        if len(known) < len(parts):
            return {"score": None, "parts": found}
        return {"score": round(score(known, settings.weights), 6), "parts": found}


def scaled(value: float | None, part: Scale) -> float | None:
    """qᵢ: 0 at the worst value and beyond, 1 at the best and beyond, in proportion between.

    >>> scaled(0.1, Scale(fact="r", worst=0.4, best=0.0)), scaled(9, Scale(fact="r"))
    (0.75, 1.0)
    """
    if value is None:
        return None
    return min(1.0, max(0.0, (value - part.worst) / (part.best - part.worst)))


def score(parts: list[float], weights: tuple[float, ...]) -> float:
    """Q(d) = Σ wᵢ·qᵢ(d).

    >>> score([1.0, 0.5], (0.25, 0.75))
    0.625
    """
    return math.fsum(weight * part for weight, part in zip(weights, parts, strict=True))
