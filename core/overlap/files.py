"""Evaluation sets out of files: rows in any columns, or a plain text with a question a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aftertrain.core.benchmark.rows import LARGEST, Ids, Row, read_file
from aftertrain.core.errors import DataError, nearest
from aftertrain.core.ground.reading import read_text
from aftertrain.core.overlap.items import Evaluation, Item
from aftertrain.core.overlap.questions import named

TEXT = ".txt"
COLUMNS = ("prompt", "question", "problem", "instruction", "goal", "input", "query", "text", "messages")
"""Columns that may hold a question, the first that a row has being taken."""
IDS = ("eval_id", "id", "task_id", "key", "question_id")
SET = "eval_set"
"""Column that says of which evaluation a row is; without it a file is one, by its name."""


def evaluations_of(path: Path, columns: Sequence[str] = ()) -> list[Evaluation]:
    """The evaluation sets of a file: JSON lines, a JSON list, CSV or parquet, or a `.txt` with a question a line.

    Args:
        columns: that make an item, each a text of its own; by default the first of `COLUMNS` that has a text or
            turns, or is an empty text: nothing is known of such an item, and it is not testable.

    Raises:
        DataError: the file cannot be read, or a row has no such column; names file, line and column.
    """
    stem = path.name.split(".")[0]
    if path.name.endswith(TEXT):
        lines = read_text(path, limit=LARGEST, error=DataError).split("\n")
        items = [Item(str(place), (line,)) for place, line in enumerate(lines, 1) if line.strip()]
        if not items:
            raise DataError(f"{path}: no lines")
        return [named(stem, items)]
    sets: dict[str, list[Item]] = {}
    ids: dict[str, Ids] = {}
    for row in read_file(path):
        name = str(row.fields.get(SET) or stem)
        id_ = next((str(row.fields[column]) for column in IDS if row.fields.get(column) is not None), str(row.number))
        item = Item(ids.setdefault(name, Ids()).unused(id_), _texts(row, columns))
        sets.setdefault(name, []).append(item)
    return [named(name, items) for name, items in sets.items()]


def _texts(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    if columns:
        return tuple(_text(row, column) for column in columns)
    there = [column for column in COLUMNS if row.fields.get(column) is not None]
    column = next((column for column in there if row.fields[column] not in ("", [])), next(iter(there), None))
    if column is None:
        raise DataError(
            f"{row.where}: no column of {', '.join(COLUMNS)}; it has {', '.join(map(str, row.fields)) or 'none'}: "
            "name the one that asks (--column)"
        )
    return (_text(row, column),)


def _text(row: Row, column: str) -> str:
    if column not in row.fields:
        guess = nearest(column, map(str, row.fields))
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise DataError(f"{row.where}: has no column {column!r}; it has {', '.join(map(str, row.fields))}{hint}")
    value = row.fields[column]
    if isinstance(value, list):
        value = _last_user_turn(value)
    if not isinstance(value, str):
        raise DataError(f"{row.where}: column {column!r} must be a text or turns, found {type(value).__name__}")
    return value


def _last_user_turn(turns: Sequence[Any]) -> str | None:
    for turn in reversed(turns):
        if isinstance(turn, Mapping) and turn.get("role", turn.get("from")) in {"user", "human"}:
            text = turn.get("content", turn.get("value"))
            return text if isinstance(text, str) else None
    return None
