"""The folder that a stage of rows hands on: `data.json` says what is in it, `rows/` holds the shards.

`datasets.load_dataset(FOLDER)` reads it too, by the data card beside (`README.md`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from aftertrain.core.errors import DataError
from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.ground.reading import read_json
from aftertrain.core.operator import RECORDS, Row
from aftertrain.core.records import Record
from aftertrain.core.rows.files import read_shard, write_text

NAME = "data.json"
ROWS = "rows"


@dataclass(frozen=True)
class Shard:
    """One file of rows.

    Attributes:
        name: within `rows/`.
        sha256: of the file.
    """

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """What `data.json` says.

    Attributes:
        record: name of the records' type.
        shards: in their order.
        sources: rows by source.
        licenses: rows by licence, "" for those that state none.
        facts: names of what operators found of any row; None where that was not written down.
    """

    record: str
    shards: tuple[Shard, ...]
    sources: dict[str, int] = field(default_factory=dict)
    licenses: dict[str, int] = field(default_factory=dict)
    facts: tuple[str, ...] | None = None

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(shard.rows for shard in self.shards)

    @property
    def record_type(self) -> type[Record]:
        """Of the rows."""
        return RECORDS[self.record]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the shards' digests and their order."""
        named = "\n".join([self.record, *(shard.sha256 for shard in self.shards)])
        return hashlib.sha256(named.encode()).hexdigest()


def shard_of(path: Path, rows: int) -> Shard:
    """A file that was written, with its digest."""
    with path.open("rb") as file:
        return Shard(path.name, rows, hashlib.file_digest(file, "sha256").hexdigest())


def write_contents(folder: Path, contents: Contents) -> None:
    """Write `data.json`."""
    write_text(folder / NAME, f"{json_text(asdict(contents), indent=1)}\n")


def read_contents(folder: Path) -> Contents:
    """What a folder says it holds.

    Raises:
        DataError: no stage wrote it, or it is damaged.
    """
    contents = read_json(folder / NAME, Contents, error=DataError, cure="a stage of rows writes this file")
    if contents.record not in RECORDS:
        raise DataError(f"{folder / NAME}: no record type {contents.record!r}; there are {', '.join(sorted(RECORDS))}")
    return contents


def read_rows(folder: Path) -> Iterator[Row]:
    """All rows of a folder, shard after shard.

    Raises:
        DataError: one cannot be read.
    """
    contents = read_contents(folder)
    for shard in contents.shards:
        yield from read_shard(folder / ROWS / shard.name, contents.record)
