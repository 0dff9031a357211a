"""The data set `source`: rows of a known data set, from the hub or a local copy, whose layout is checked (F9)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

from aftertrain.core.errors import DataError, nearest
from aftertrain.plugins.data.row import Row
from aftertrain.plugins.data.settings import Format, TableSettings
from aftertrain.plugins.data.sources.entry import Entry, catalogue
from aftertrain.plugins.data.sources.layout import both_layouts, differences
from aftertrain.plugins.data.sources.places import Place, open_place
from aftertrain.plugins.data.sources.settings import SourceSettings
from aftertrain.plugins.data.sources.shapes import SHAPES
from aftertrain.plugins.data.table import Shaped

READING = {"columns", "id", "reads", "as_", "fields", "keep", "part_column", "parts"}
"""What of an entry decides the records."""


class Source(Shaped[SourceSettings]):
    """Rows of a source of the catalogue; each record keeps source and licence, of a collection those of its part.

    A first row whose layout is not the one that the converter was written for stops it, with both side by side; a later
    one is a broken row. Rows that the catalogue's `keep` leaves out do not belong to the source.
    """

    Config = SourceSettings

    @cached_property
    def entry(self) -> Entry:
        """What the catalogue says of it."""
        return self.settings.entry

    @cached_property
    def shape(self) -> TableSettings:
        entry = self.entry
        given: dict[str, Any] = {"as": entry.as_} if entry.as_ else {}
        return TableSettings(
            format=cast("Format", entry.format),
            fields={} if entry.reads in SHAPES else entry.fields,
            limit=self.settings.limit,
            source=self.settings.source,
            license=entry.license,
            **given,
        )

    @property
    def default_source(self) -> str:
        return self.settings.name

    def notes(self) -> Sequence[str]:
        """What is left out, and what of the layout nobody saw."""
        entry = self.entry
        only = [f"only rows whose {column} matches {pattern!r} are read" for column, pattern in entry.keep.items()]
        return [*only, *([f"unverified: {entry.unverified}"] if entry.unverified else [])]

    def stored(self) -> str:
        """Of the rows as they lie there, and of what the catalogue does to them."""
        reading = self.entry.model_dump(include=READING)
        data = json.dumps([self._place.stored(), reading], sort_keys=True)
        return hashlib.sha256(data.encode()).hexdigest()

    def rows(self) -> Iterator[Row]:
        entry = self.entry
        rows = self._kept(self._checked())
        return SHAPES[entry.reads](rows, self.settings) if entry.reads in SHAPES else rows

    @cached_property
    def _place(self) -> Place:
        return open_place(self.settings, self.entry, self.builder)

    def _checked(self) -> Iterator[Row]:
        """Rows that have the layout.

        Raises:
            DataError: the first has another.
        """
        entry, first = self.entry, True
        for row in self._place.rows():
            if row.broken is not None:
                yield row
                continue
            if not _differs(entry, row):
                yield row if entry.id is None else replace(row, values={**row.values, "id": row.values.get(entry.id)})
            elif first:
                raise DataError(self._changed(row))
            else:
                yield replace(row, broken=("changed_layout", self._changed(row)))
            first = False

    def _kept(self, rows: Iterator[Row]) -> Iterator[Row]:
        entry = self.entry
        patterns = {column: re.compile(pattern) for column, pattern in entry.keep.items()}
        for row in rows:
            if row.broken is not None:
                yield row
            elif all(_matches(pattern, row.values.get(column)) for column, pattern in patterns.items()):
                if entry.part_column is None:
                    yield row
                elif (of_part := self._of_part(row, entry.part_column)) is not None:
                    yield of_part

    def _of_part(self, row: Row, column: str) -> Row | None:
        """The row with its part's source and licence; None where another part is wanted."""
        entry, value = self.entry, row.values.get(column)
        if not isinstance(value, str):
            found = f"field {column!r}: expected the name of a part, found {value!r:.60}"
            return replace(row, broken=("unknown_part", found))
        if not entry.parts:
            return replace(row, origin=(value, None))
        if value not in entry.parts:
            guess = nearest(value, entry.parts)
            hint = f"; the nearest that is known is {guess!r}" if guess else ""
            found = f"field {column!r}: {value!r:.100} is no part that is known{hint}"
            return replace(row, broken=("unknown_part", found))
        name = entry.parts[value]
        if self.settings.parts and name not in self.settings.parts:
            return None
        return replace(row, origin=(name, catalogue()[name].license))

    def _changed(self, row: Row) -> str:
        entry = self.entry
        seen = f" ({', '.join(entry.seen)})" if entry.seen else ""
        return (
            f"{row.where}: source {self.settings.name!r} ({entry.hub}) has not the columns that its converter was "
            f"written for{seen}\n{both_layouts(entry.columns, row.values)}\n"
            "  Read it with `use: hub` (jsonl, parquet …), a `format` and `fields`, or name the `revision` that fits."
        )


def _differs(entry: Entry, row: Row) -> bool:
    """Whether a row has another layout; where all values are texts, as in CSV, whether it lacks a column."""
    if row.textual:
        return not entry.columns.keys() <= row.values.keys()
    return next(iter(differences(entry.columns, row.values)), "") != ""


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.search(value) is not None
