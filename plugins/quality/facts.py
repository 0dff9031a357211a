"""Facts of a row by their whole name."""

from __future__ import annotations

from typing import Any

from aftertrain.core.errors import DataError, unknown
from aftertrain.core.operator import Row


def fact(row: Row, name: str) -> Any:
    """What an operator before found.

    Raises:
        DataError: none found it; names the row and what there is.
    """
    try:
        return row.facts[name]
    except KeyError:
        raise DataError(
            f"row {row.id!r}: {unknown('fact', name, row.facts)} Facts are found by operators that stand before"
        ) from None


def number(row: Row, name: str) -> float | None:
    """A fact that is a number, or yes (1) or no (0); None where it has no value.

    Raises:
        DataError: there is no such fact, or it is no number.
    """
    value = fact(row, name)
    if value is None:
        return None
    if not isinstance(value, bool | int | float):
        raise DataError(f"row {row.id!r}: the fact {name!r} is no number but {value!r:.60}")
    return float(value)
