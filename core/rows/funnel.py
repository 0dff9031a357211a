"""The account of a stage of rows for people: rows in to rows out by operator and source, and sizes of what is left."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from aftertrain.core.errors import DataError
from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.ground.reading import read_json
from aftertrain.core.operator import Row
from aftertrain.core.rows.files import write_text
from aftertrain.core.rows.left_out import LeftOut

NAME = "funnel.json"
LIMIT = 256 << 20
FACTS = 64
"""Facts whose values are counted; further ones are not."""
PARTS = ("came", "kept", "changed", "made", "replaced")


@dataclass
class Passage:
    """One operator, or the source.

    Attributes:
        came: rows that went in, by source.
        kept: came out, by source.
        changed: of these with another record, by source.
        made: new rows, by source.
        replaced: rows in whose place others were made, by source.
        dropped: rows left out, by reason and then by source.
        figures: what the operator found of all rows that came.
    """

    came: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    replaced: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def left_out(self) -> int:
        """How many rows were left out."""
        return sum(sum(by_source.values()) for by_source in self.dropped.values())


@dataclass
class Spread:
    """How the values of a numeric fact lie.

    Attributes:
        kept: rows that are left, by the value to two digits (`"0.53"`, `"1.2e+02"`).
        left_out: rows that had the fact when they were left out, likewise.
        bounds: that rows are left out by, whether or not one was.
    """

    kept: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    bounds: list[float] = field(default_factory=list)


@dataclass
class Funnel:
    """All operators in their order, and the sizes of what is left.

    Attributes:
        read: rows of the source that make a record.
        bad: those that make none, by reason.
        characters: of all texts of the rows that are left.
        words: of the same, as divided by white space.
        facts: how the numbers lie that operators found.
    """

    read: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    passages: dict[str, Passage] = field(default_factory=dict)
    rows: int = 0
    characters: int = 0
    words: int = 0
    facts: dict[str, Spread] = field(default_factory=dict)

    def add(self, other: Funnel) -> None:
        """Add the account of another shard."""
        self.read += other.read
        _add(self.bad, other.bad)
        for name, passage in other.passages.items():
            own = self.passages.setdefault(name, Passage())
            for part in PARTS:
                _add(getattr(own, part), getattr(passage, part))
            for reason, by_source in passage.dropped.items():
                _add(own.dropped.setdefault(reason, {}), by_source)

    def see(self, row: Row) -> None:
        """Count the facts of a row that is left."""
        for name, value in _numbers(row):
            if (spread := self._spread(name)) is not None:
                _add(spread.kept, {value: 1})

    def miss(self, left: LeftOut) -> None:
        """Count the facts of a row that was left out, and the bound that it was left out by."""
        for name, value in _numbers(left.row) if left.row is not None else ():
            if (spread := self._spread(name)) is not None:
                _add(spread.left_out, {value: 1})
        if _is_number(bound := left.evidence.get("bound")):
            self.bound(str(left.evidence.get("fact")), bound, left.operator)

    def bound(self, name: str, bound: float, operator: str) -> None:
        """Note at which value of a fact an operator leaves rows out, where the fact is counted.

        Raises:
            DataError: the bound is no number that can be drawn.
        """
        if not _is_number(bound):
            raise DataError(f"operator {operator!r} gave {bound!r} as a bound of {name!r}: no finite int or float")
        spread = self.facts.get(name)
        if spread is not None and bound not in spread.bounds:
            spread.bounds.append(bound)

    def _spread(self, name: str) -> Spread | None:
        return self.facts.setdefault(name, Spread()) if name in self.facts or len(self.facts) < FACTS else None

    def told(self) -> str:
        """In one line: what each operator left out."""
        parts = [f"{name} left out {passage.left_out:,}" for name, passage in self.passages.items() if passage.left_out]
        return f"of {self.read:,} rows {', '.join(parts) or 'none was left out'}"


def read_funnel(folder: Path) -> Funnel | None:
    """Of a stage's artifact; None where the stage wrote none.

    Raises:
        DataError: it is damaged.
    """
    path = folder / NAME
    return read_json(path, Funnel, limit=LIMIT, error=DataError) if path.is_file() else None


def write_funnel(folder: Path, funnel: Funnel) -> None:
    """Write it into a stage's artifact."""
    write_text(folder / NAME, f"{json_text(asdict(funnel), indent=1)}\n")


def _add(own: dict[str, int], other: dict[str, Any]) -> None:
    for key, count in other.items():
        own[key] = own.get(key, 0) + count


def _numbers(row: Row) -> Iterable[tuple[str, str]]:
    return ((name, f"{value:.2g}") for name, value in row.facts.items() if _is_number(value))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
