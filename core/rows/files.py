"""Shards of rows: files of JSON lines or parquet, written whole or not at all, read row by row."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aftertrain.core.errors import DataError, RunError
from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.ground.reading import parse_json, read_lines
from aftertrain.core.operator import Row
from aftertrain.core.rows.columns import PLAIN, TALKS, from_columns, to_columns

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["jsonl", "parquet"]
DRAFT = ".writing-"
LINE = 256 << 20
"""Bytes of a row's line: a row as it is read has at most 4 MiB, and what operators add is small beside it."""


def part(shard: int) -> str:
    """A shard's name.

    >>> part(7)
    'part-00007'
    """
    return f"part-{shard:05d}"


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write a shard, by its suffix as JSON lines or parquet; returns the number of rows.

    Parquet takes all rows into memory. A kill leaves the old file or the new one.

    Raises:
        RunError: the disk is full or the folder unwritable.
    """
    if path.suffix == ".jsonl":
        return write_lines(path, map(to_columns, rows))
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept = list(rows)
    kind = type(kept[0].record).__name__ if kept else "Conversation"
    table = pa.Table.from_pylist([to_columns(row) for row in kept], schema=_schema(kind))
    with _whole(path) as draft:
        pq.write_table(table, draft)
    return len(kept)


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> int:
    """Write JSON objects, one a line; returns their number.

    Raises:
        RunError: the disk is full or the folder unwritable.
    """
    count = 0
    with _whole(path) as draft, draft.open("w", encoding="utf-8") as file:
        for count, line in enumerate(lines, 1):  # noqa: B007
            file.write(f"{json_text(line, verbatim=True)}\n")
    return count


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        RunError: the disk is full or the folder unwritable.
    """
    with _whole(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A draft that takes the file's place, on the disk, when all is written; of this process alone."""
    draft = path.with_name(f"{DRAFT}{os.getpid()}-{path.name}")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(path)
    except BaseException as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RunError(f"{path}: cannot write: {error.strerror or error}") from error
        raise


def read_shard(path: Path, kind: str) -> Iterator[Row]:
    """The rows of a shard, in order.

    Args:
        kind: name of their record type.

    Raises:
        DataError: the file cannot be read, or no stage wrote it.
    """
    for number, columns in enumerate(_columns(path), 1):
        yield from_columns(columns, kind, f"{path}:{number}")


def read_objects(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file of lines."""
    for number, line in read_lines(path, limit=LINE):
        value = parse_json(line.decode("utf-8"), str(path), line=number, error=DataError)
        if not isinstance(value, dict):
            raise DataError(f"{path}:{number}: expected a JSON object, found {json.dumps(value)[:60]}")
        yield value


def _columns(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".jsonl":
        yield from read_objects(path)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1000):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _schema(kind: str) -> pa.Schema:
    import pyarrow as pa

    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    types = {"number": pa.float64(), "truth": pa.bool_(), "text": pa.string()}
    return pa.schema(
        [
            ("id", pa.string()),
            *((name, turns) for name in TALKS[kind]),
            *((name, types[type_]) for name, type_ in PLAIN.get(kind, {}).items()),
            *((name, pa.string()) for name in ("source", "license", "tools", "turns", "facts")),
            *((name, pa.list_(pa.string())) for name in ("history", "origin")),
        ]
    )
