"""Files that other evaluators leave, in one form: what a question asked, what a model made of it, what that was worth.

A layout (`api.layouts`) is told by the columns of a file's first line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aftertrain.api.layouts import LAYOUTS, Record
from aftertrain.core.benchmark.rows import read_rows
from aftertrain.core.errors import DataError, RunError, unknown


@dataclass(frozen=True, slots=True)
class Foreign:
    """A file of someone else's.

    Attributes:
        layout: whose, in words.
        sha256: of the file's bytes.
        records: its questions in their order.
    """

    path: Path
    layout: str
    sha256: str
    records: tuple[Record, ...]


def read_foreign(path: Path, where: Iterable[str] = (), *, verdicts: bool = False) -> Foreign:
    """Read a file.

    Args:
        where: `COLUMN=VALUE` texts; only lines that have all of these values are read. `a.b` is column `b` in `a`.
        verdicts: what replies are worth is wanted, so that it matters which filter read them.

    Raises:
        DataError: it cannot be read, or a line does not fit its layout. RunError: no line is left, or the lines are of
            several tasks, of which one must be chosen.
    """
    rows = read_rows(path)
    if not rows:
        raise DataError(f"{path}: no rows")
    chosen = _chosen(path, rows, dict(_condition(text) for text in where))
    layout = next(layout for layout in LAYOUTS if all(column in chosen[0][1] for column in layout.columns))
    _check_one(path, chosen, (*layout.tells, *([layout.filters] if layout.filters and verdicts else [])))
    groups: dict[str, list[Record]] = {}
    for number, row in chosen:
        record = layout.record(row, f"{path}:{number}")
        key = str(record.place) if record.place is not None else record.names[0] if record.names else str(number)
        groups.setdefault(key, []).append(record)
    records = tuple(map(layout.joined, groups.values()))
    return Foreign(path, layout.name, _sha256(path), records)


def column(row: Mapping[str, Any], path: str, where: str) -> Any:
    """The value of a column, or of one in a column (`a.b`).

    Raises:
        DataError: there is none; names the nearest.
    """
    value: Any = row
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            there = value if isinstance(value, Mapping) else {}
            raise DataError(f"{where}: {unknown('column', name, map(str, there))}")
        value = value[name]
    return value


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise RunError(f"{text!r}: what lines are read is written COLUMN=VALUE, as in variant=test_mc_5shot")
    return name, value


def _chosen(
    path: Path, rows: Sequence[tuple[int, dict[str, Any]]], conditions: Mapping[str, str]
) -> list[tuple[int, dict[str, Any]]]:
    chosen = [
        (number, row)
        for number, row in rows
        if all(str(column(row, name, f"{path}:{number}")) == value for name, value in conditions.items())
    ]
    if not chosen:
        name, value = next(
            (pair for pair in conditions.items() if all(str(column(row, pair[0], "")) != pair[1] for _, row in rows)),
            next(iter(conditions.items())),
        )
        there = dict.fromkeys(str(column(row, name, "")) for _, row in rows)
        raise RunError(f"{path}: no line has all of {dict(conditions)}; {unknown(f'value of {name}', value, there)}")
    return chosen


def _check_one(path: Path, rows: Sequence[tuple[int, dict[str, Any]]], columns: Sequence[str]) -> None:
    for name in columns:
        values = list(dict.fromkeys(str(row[name]) for _, row in rows if name in row))
        if len(values) > 1:
            listed = ", ".join(values[:40])
            raise RunError(
                f"{path}: its lines have several values of {name!r}; choose one by --where {name}=…: {listed}"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
