"""Rows that a stage left out, beside those that it hands on: by which operator, why, and as they were."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.operator import RECORDS, Dropped, Row
from aftertrain.core.records import JSON
from aftertrain.core.rows.columns import from_columns, to_columns
from aftertrain.core.rows.files import read_objects

FOLDER = "dropped"
"""Beside `rows/`, with a file of JSON lines for each shard."""
SOURCE = "source"
"""In place of an operator's name: what was left out because it makes no record."""


@dataclass(frozen=True)
class LeftOut:
    """A row that was left out.

    Attributes:
        operator: by the name that the stage knows it by; `source` for a row that makes no record.
        reason: a word or two.
        evidence: what shows it.
        row: as it was then; None where it makes no record.
    """

    id: str
    operator: str
    reason: str
    evidence: Mapping[str, JSON]
    row: Row | None = None

    @property
    def source(self) -> str:
        """Of the row, "" where it makes no record."""
        return "" if self.row is None else self.row.source


def left_out_line(operator: str, dropped: Dropped) -> dict[str, Any]:
    """A row that an operator left out, as it is written."""
    return {
        "operator": operator,
        "reason": dropped.reason,
        "evidence": json_text(dict(dropped.evidence)),
        "record": type(dropped.row.record).__name__,
        **to_columns(dropped.row),
    }


def bad_row_line(id: str, reason: str, message: str) -> dict[str, Any]:
    """A row of the source that makes no record, as it is written."""
    return {"operator": SOURCE, "reason": reason, "evidence": json_text({"message": message}), "id": id}


def examples(rows: Iterable[LeftOut], most: int) -> dict[tuple[str, str], list[LeftOut]]:
    """The first rows that were left out, so many for each operator and reason."""
    found: dict[tuple[str, str], list[LeftOut]] = {}
    for left in rows:
        some = found.setdefault((left.operator, left.reason), [])
        if len(some) < most:
            some.append(left)
    return found


def read_left_out(folder: Path) -> Iterator[LeftOut]:
    """The rows that a stage left out, in their order.

    Args:
        folder: of the stage's artifact.

    Raises:
        DataError: a file cannot be read, or no stage wrote it.
    """
    for path in sorted((folder / FOLDER).glob("*.jsonl")):
        for number, line in enumerate(read_objects(path), 1):
            yield left_out(line, f"{path}:{number}")


def left_out(line: Mapping[str, Any], where: str) -> LeftOut:
    """A line that was written so.

    Raises:
        DataError: it was not.
    """
    try:
        kind = str(line.get("record"))
        row = from_columns(line, kind, where) if kind in RECORDS else None
        return LeftOut(line["id"], line["operator"], line["reason"], json.loads(line["evidence"]), row)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: no row that a stage left out: {type(error).__name__}: {error}") from error
