"""The rows of the source, written into shards of the same number of rows: where the work begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aftertrain.core.dataset import BadRow, Dataset
from aftertrain.core.errors import DataError
from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.ground.reading import read_json
from aftertrain.core.operator import Row
from aftertrain.core.rows.files import part, write_lines, write_rows, write_text
from aftertrain.core.rows.left_out import SOURCE, bad_row_line
from aftertrain.plugins.curation.work import ACCOUNT, Account, write_account

CHARACTERS = 64 << 20
"""Of the texts of a shard, from which on it takes no further row."""


@dataclass(frozen=True)
class Read:
    """What was read of the source.

    Attributes:
        record: name of the record type.
        shards: rows of each shard.
    """

    record: str
    shards: tuple[int, ...]


def read_source(data: Dataset[Any], folder: Path, shard_rows: int, stop: Callable[[], None]) -> Read:
    """Write the rows into `folder/0`, or find that this is done.

    Args:
        stop: called before each shard; raises to end it.

    Raises:
        DataError: the data cannot be read, or hold no row that makes a record.
    """
    place = folder / "0"
    mark = place / "source.json"
    if mark.exists():
        return read_json(mark, Read, limit=ACCOUNT, error=DataError)
    place.mkdir(parents=True, exist_ok=True)
    record, shards, bad = data.record_type.__name__, list[int](), dict[str, int]()
    for number, entries in enumerate(_parts(data.made_rows(), shard_rows)):
        stop()
        broken = [entry for entry in entries if isinstance(entry, BadRow)]
        for row in broken:
            bad[row.reason] = bad.get(row.reason, 0) + 1
        rows = [entry for entry in entries if not isinstance(entry, BadRow)]
        shards.append(write_rows(place / f"{part(number)}.jsonl", rows))
        write_lines(
            place / f"{part(number)}.dropped.jsonl", (bad_row_line(row.id, row.reason, row.message) for row in broken)
        )
        account = Account(
            record=record if rows else "",
            kept=tuple(row.id for row in rows),
            dropped=tuple((row.id, SOURCE, row.reason) for row in broken),
        )
        write_account(place / f"{part(number)}.json", account)
    if not sum(shards):
        raise DataError(f"no row of the data makes a record: {bad or 'there are none'}")
    read = Read(record, tuple(shards))
    write_text(mark, json_text(asdict(read)))
    return read


def _parts(entries: Iterator[Row | BadRow], size: int) -> Iterator[list[Row | BadRow]]:
    """Cut where there are so many rows, or so much text that a process should not hold more."""
    some: list[Row | BadRow] = []
    characters = 0
    for entry in entries:
        some.append(entry)
        characters += 0 if isinstance(entry, BadRow) else sum(map(len, entry.texts))
        if len(some) == size or characters >= CHARACTERS:
            yield some
            some, characters = [], 0
    if some:
        yield some
