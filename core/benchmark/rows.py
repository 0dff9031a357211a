"""Rows of files as they are, each with its place, so that one that does not fit is told by file, line and column."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aftertrain.core.errors import DataError, nearest
from aftertrain.core.ground.cleaning import clean
from aftertrain.core.ground.reading import decode, parse_json, read_bytes
from aftertrain.core.ground.wording import counted
from aftertrain.core.records import JSON

LARGEST = 4 << 30
"""Bytes of a task's file, unpacked."""
LONGEST_FIELD = 1 << 24
"""Characters of one value of a CSV file."""
PARQUET = ".parquet"
JSON_LINES = (".jsonl", ".jsonl.gz")
JSON_LISTS = (".json", ".json.gz")
CSV = (".csv", ".csv.gz")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a benchmark.

    Attributes:
        number: its place in the split, from 0.
        where: file and line, for messages.
        fields: by the hub's columns.
    """

    number: int
    where: str
    fields: Mapping[str, Any]

    def text(self, column: str) -> str:
        """A text.

        Raises:
            DataError: see `need`.
        """
        text: str = need(self.fields, column, str, self.where)
        return text

    def texts(self, column: str) -> tuple[str, ...]:
        """A list of at least two texts, none of them empty.

        Raises:
            DataError: see `need`; or it is another list.
        """
        return _texts(need(self.fields, column, list, self.where), f"{self.where}: column {column!r}")

    def index(self, column: str, count: int, *, first: int = 0) -> int:
        """Which of `count` choices a number names, written as one or as its digits; `first` is how the first is named.

        Raises:
            DataError: it names none.
        """
        value = need(self.fields, column, (int, str), self.where)
        place = int(value) - first if isinstance(value, int) or (value.isascii() and value.isdigit()) else -1
        if not 0 <= place < count:
            raise DataError(
                f"{self.where}: column {column!r} must name one of {count} choices by {first} to {first + count - 1}, "
                f"found {value!r:.80}"
            )
        return place

    def labelled(self, choices: str, key: str) -> tuple[tuple[str, ...], int]:
        """Texts of a column `{"text": […], "label": […]}`, and the place of the one whose label column `key` names.

        Labels may be anything: A, B, C … as well as 1, 2, 3 …

        Raises:
            DataError: texts and labels are not of one length, a label stands twice, or `key` is none of them.
        """
        where = f"{self.where}: column {choices!r}"
        both = need(self.fields, choices, dict, self.where)
        texts, labels = _texts(need(both, "text", list, where), where), need(both, "label", list, where)
        if len(labels) != len(texts) or len(set(map(str, labels))) < len(labels):
            raise DataError(f"{where}: {len(texts)} texts need as many different labels, found {labels!r:.80}")
        answer = self.text(key)
        if answer not in labels:
            raise DataError(
                f"{self.where}: column {key!r} must be one of the labels {labels!r:.80}, found {answer!r:.80}"
            )
        return texts, labels.index(answer)


def _texts(values: list[Any], where: str) -> tuple[str, ...]:
    if len(values) < 2 or not all(isinstance(value, str) and value for value in values):
        raise DataError(f"{where} must hold at least two texts, none of them empty, found {values!r:.80}")
    return tuple(values)


def read_file(path: Path) -> list[Row]:
    """Rows of a file in its own columns, by the end of its name: JSON lines, one JSON list, CSV, parquet.

    Raises:
        DataError: it cannot be read, has no rows, or its name ends otherwise.
    """
    if path.name.endswith(JSON_LINES):
        rows = [Row(place, f"{path}:{line}", row) for place, (line, row) in enumerate(read_rows(path))]
    else:
        for ends, read in (((PARQUET,), _parquet), (JSON_LISTS, _json_list), (CSV, _csv)):
            if path.name.endswith(ends):
                rows = [Row(place, f"{path}:row {place + 1}", row) for place, row in enumerate(read(path))]
                break
        else:
            known = ", ".join((*JSON_LINES, *JSON_LISTS, *CSV, PARQUET))
            raise DataError(f"{path}: is read by its name, which must end in {known}")
    if not rows:
        raise DataError(f"{path}: no rows")
    return rows


def _parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            rows: list[dict[str, Any]] = file.read().to_pylist()
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from error
    return rows


def _json_list(path: Path) -> list[dict[str, Any]]:
    rows = parse_json(_text(path), str(path), error=DataError)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: a JSON list of objects is needed")
    return rows


def _csv(path: Path) -> list[dict[str, Any]]:
    """Rows under a line of names; every value is a text."""
    csv.field_size_limit(LONGEST_FIELD)
    try:
        names, *rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
    except ValueError as error:
        raise DataError(f"{path}: no rows") from error
    rows = [values for values in rows if values]
    for place, values in enumerate(rows, 1):
        if len(values) != len(names):
            raise DataError(f"{path}:row {place}: has {len(values)} values under {len(names)} names")
    return [dict(zip(names, values, strict=True)) for values in rows]


def _text(path: Path) -> str:
    """A file's text, unpacked where its name says that it is packed."""
    content = read_bytes(path, limit=LARGEST, error=DataError)
    if path.suffix == ".gz":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
                content = file.read(LARGEST + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        if len(content) > LARGEST:
            raise DataError(f"{path}: has more than {LARGEST:,} bytes when it is unpacked")
    return decode(content, str(path), error=DataError)


def read_rows(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """Line numbers and objects of a JSON-lines file, gzip if it ends in `.gz`; blank lines are skipped.

    Raises:
        DataError: the file cannot be read or a line is not a JSON object; names file and line.
    """
    path = Path(path)
    rows = []
    try:
        text = read_bytes(path, limit=LARGEST, error=DataError)
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=io.BytesIO(text)) as file:
                text = file.read(LARGEST + 1)
            if len(text) > LARGEST:
                raise DataError(f"{path}: has more than {LARGEST:,} bytes when it is unpacked")
        for number, line in enumerate(text.decode("utf-8").split("\n"), 1):
            if not line.strip():
                continue
            row = parse_json(line, str(path), line=number, error=DataError)
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: a JSON object is needed, found {type(row).__name__}")
            if "\\ud" in line.lower() and clean(half := json.dumps(row, ensure_ascii=False)) != half:
                raise DataError(
                    f"{path}:{number}: holds half of a surrogate pair, which no tokenizer takes; write the character "
                    "whole, take it out, or put \\ufffd in its place"
                )
            rows.append((number, row))
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    return rows


def need(row: Mapping[str, Any], field: str, kind: type | tuple[type, ...], where: str) -> Any:
    """`row[field]`, of type `kind`.

    Raises:
        DataError: it is missing or of another type.
    """
    if field not in row:
        guess = nearest(field, map(str, row))
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise DataError(f"{where}: has no field {field!r}; it has {', '.join(sorted(row)) or 'none'}{hint}")
    if not isinstance(row[field], kind):
        names = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise DataError(f"{where}: field {field!r} must be a {names}, found {type(row[field]).__name__}")
    return row[field]


def digest(value: JSON) -> str:
    """SHA-256 in hex of plain data."""
    written = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(written.encode(errors="surrogatepass")).hexdigest()


class Ids:
    """Stable ids of rows that may bring none: the row's own `id`, else a digest of its text; repeats are numbered.

    >>> ids = Ids()
    >>> print(*(ids.unused(name) for name in ("a", "a-2", "a", "b")))
    a a-2 a-3 b
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._repeats: list[str] = []

    def of(self, row: Mapping[str, Any], text: str) -> str:
        """An id that no earlier row has."""
        return self.unused(str(row["id"]) if row.get("id") is not None else digest(text)[:16])

    def unused(self, name: str) -> str:
        """`name`, or with the lowest number from 2 on behind it that makes it one that no earlier row has."""
        count, id_ = 1, name
        while id_ in self._seen:
            count += 1
            id_ = f"{name}-{count}"
        self._seen.add(id_)
        if count > 1:
            self._repeats.append(id_)
        return id_

    def notes(self) -> tuple[str, ...]:
        """What a user should know of repeats: each is asked and counted, under an id of its own.

        >>> ids = Ids()
        >>> ids.notes(), [ids.unused(name) for name in ("a", "b", "a")], *ids.notes()
        ((), ['a', 'b', 'a-2'], "1 row has the id of an earlier one: each is scored, under an id with a number ('a-2')")
        """
        if not (count := len(self._repeats)):
            return ()
        have = "has" if count == 1 else "have"
        told = f"{counted(count, 'row')} {have} the id of an earlier one: each is scored, under an id with a number"
        return (f"{told} ({self._repeats[0]!r})",)
