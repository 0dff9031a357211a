"""Rows left out by a fact: by its value, or by where the value stands among those of all rows."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aftertrain.core.errors import DataError
from aftertrain.core.operator import Dropped, Filter, Row
from aftertrain.core.records import JSON
from aftertrain.core.settings import Builder
from aftertrain.plugins.quality.facts import fact, number
from aftertrain.plugins.quality.settings import Quantile, ThresholdSettings

LEARNT = "bounds.json"


class Threshold(Filter[ThresholdSettings]):
    """Leaves out what lies below `at_least`, above `at_most` or outside `one_of`; a value that equals a bound stays."""

    Config = ThresholdSettings

    def __init__(self, settings: ThresholdSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self.learns = settings.learns
        self._low, self._high = (
            bound if isinstance(bound, float) else None for bound in (settings.at_least, settings.at_most)
        )

    def learn(self, rows: Iterable[Row], state: Path, seed: int) -> None:
        """The bounds that are quantiles, over all rows whose fact has a value.

        Raises:
            DataError: no row's has.
        """
        name = self.settings.fact
        values = array("d", (value for row in rows if (value := number(row, name)) is not None))
        if not values:
            raise DataError(f"no row has a value of {name!r}, so that it has no quantiles")
        ordered = sorted(values)
        bounds = {
            side: quantile(ordered, bound.quantile) if isinstance(bound, Quantile) else bound
            for side, bound in (("at_least", self.settings.at_least), ("at_most", self.settings.at_most))
        }
        (state / LEARNT).write_text(json.dumps(bounds | {"rows": len(values)}), encoding="utf-8")

    def recall(self, state: Path) -> None:
        """The bounds that were learnt."""
        bounds = json.loads((state / LEARNT).read_text(encoding="utf-8"))
        self._low, self._high = bounds["at_least"], bounds["at_most"]

    def figures(self) -> Mapping[str, JSON]:
        """The bounds."""
        return {name: bound for name, bound in (("at_least", self._low), ("at_most", self._high)) if bound is not None}

    def bounds(self) -> Mapping[str, Sequence[float]]:
        """Of its fact, those of the settings or what was learnt in their place."""
        return {self.settings.fact: [bound for bound in (self._low, self._high) if bound is not None]}

    def reads(self) -> Sequence[str]:
        """The fact."""
        return (self.settings.fact,)

    def about(self) -> str:
        """The fact."""
        return self.settings.fact

    def dropped(self, row: Row) -> Dropped | None:
        """Evidence: the fact, its value and the bound.

        Raises:
            DataError: the row has no such fact, or one without a value where `undefined` is stop.
        """
        settings, name = self.settings, self.settings.fact
        value = fact(row, name)
        if value is None:
            if settings.undefined == "stop":
                raise DataError(f"row {row.id!r}: the fact {name!r} has no value")
            return row.drop("no value", fact=name) if settings.undefined == "drop" else None
        if settings.one_of:
            return None if str(value) in settings.one_of else row.drop("not one of", fact=name, value=value)
        measure = number(row, name)
        assert measure is not None
        if self._low is not None and measure < self._low:
            return row.drop("below", fact=name, value=value, bound=self._low)
        if self._high is not None and measure > self._high:
            return row.drop("above", fact=name, value=value, bound=self._high)
        return None


def quantile(ordered: Sequence[float], share: float) -> float:
    """The least of the ordered values at or below which that share of them lies (Hyndman and Fan's type 1).

    >>> quantile([1, 2, 3, 4, 5], 0.2), quantile([1, 2, 3, 4, 5], 0.21), quantile([1, 2, 3, 4, 5], 0)
    (1, 2, 1)
    """
    # As written, 0.07 of 100 rows is 7; the float product is a little more, which would cost a row.
    return ordered[max(0, math.ceil(round(share * len(ordered), 9)) - 1)]
