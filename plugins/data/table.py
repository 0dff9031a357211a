"""What data sets of rows have in common: rows to records, unique ids, fingerprints."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aftertrain.core.component import aside
from aftertrain.core.dataset import BadRow, Dataset
from aftertrain.core.errors import DataError
from aftertrain.core.operator import Row as MadeRow
from aftertrain.core.records import Conversation, Document, Feedback, PreferencePair, Problem, Record
from aftertrain.core.settings import Settings
from aftertrain.plugins.data.formats import record_of, row_id
from aftertrain.plugins.data.row import Row, RowFault, encodable
from aftertrain.plugins.data.settings import FileSettings, TableSettings

if TYPE_CHECKING:
    from aftertrain.plugins.data import sound
else:
    sound = aside("aftertrain.plugins.data.sound")

S = TypeVar("S", bound=Settings)
T = TypeVar("T", bound=TableSettings)
F = TypeVar("F", bound=FileSettings)
R = TypeVar("R", bound=Record | BadRow | MadeRow)
RECORDS: dict[str, type[Record]] = {
    "preference": PreferencePair,
    "feedback": Feedback,
    "rlvr": Problem,
    "text": Document,
}
"""What rows of a format become; of any other they are conversations."""
NOTED = 1_000
"""Rows that are looked at for columns that nothing reads."""


class Shaped(Dataset[S]):
    """Rows of one place. An id is the row's `id` column, or a digest of the row: neither depends on other rows.

    Rows that would share an id are told apart by `#2`, `#3` … in their order.
    """

    @property
    @abstractmethod
    def shape(self) -> TableSettings:
        """How rows become records."""

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """All rows with where they stand; a line that holds no row is a broken one.

        Raises:
            DataError: the place cannot be read.
        """

    @abstractmethod
    def stored(self) -> str:
        """Hex digest of the bytes that the rows are read from."""

    @property
    @abstractmethod
    def default_source(self) -> str:
        """Name of the data set where settings give none."""

    @property
    def record_type(self) -> type[Record]:
        return Problem if self.shape.as_ == "problem" else RECORDS.get(self.shape.format, Conversation)

    def __iter__(self) -> Iterator[Any]:
        yield from unique(record_of(row, self.shape, self._source) for row in self._limited())

    def entries(self) -> Iterator[Any]:
        yield from unique(self._entry(row) for row in self._limited())

    def survey(self, wanted: Callable[[int], bool]) -> Iterator[Any]:
        """As `Dataset.survey`; rows that have no id of their own are told apart where they are wanted or bad alone."""
        is_sound, names, source = sound.sound_rows(self.shape), Names(), self._source
        for number, row in enumerate(self._limited()):
            if not row.plain or wanted(number) or not is_sound(row.values):
                yield names.named(self._entry(row))
                continue
            if row.values.get("id") is not None:
                names.free(row_id(row, source))
            yield None

    def notes(self) -> Sequence[str]:
        """Names the columns that nothing reads, found in the first rows."""
        read: set[str] = {"id"}
        names: dict[str, None] = {}
        for row in islice(self._limited(), NOTED):
            if row.broken is None:
                names |= dict.fromkeys(row.values)
                self._entry(replace(row, values=_Watched(row.values, read)))
        unread = [encodable(name) for name in names if name not in read]
        return [f"columns not read: {', '.join(unread)}"] if unread else []

    def where(self, ids: Collection[str]) -> dict[str, str]:
        """File and line of rows, by reading the file again up to the last of them."""
        names, wanted, places = Names(), set(ids), dict[str, str]()
        for row in self._limited():
            name = names.free(row_id(row, self._source))
            if name in wanted:
                places[name] = row.where
                if len(places) == len(wanted):
                    break
        return places

    def _entry(self, row: Row) -> Record | BadRow:
        try:
            return record_of(row, self.shape, self._source)
        except RowFault as fault:
            return BadRow(row_id(row, self._source), fault.reason, fault.message)

    def _limited(self) -> Iterator[Row]:
        number = 0
        for number, row in enumerate(islice(self.rows(), self.shape.limit), 1):  # noqa: B007
            yield row
        if number == 0:
            where = getattr(self.settings, "path", self.default_source)
            raise DataError(f"{where}: the data set is empty")

    def fingerprint(self) -> str:
        """SHA-256 over the content and the settings that shape records."""
        data = json.dumps([self.content(), self.settings.affecting()], sort_keys=True)
        return hashlib.sha256(data.encode()).hexdigest()

    def content(self) -> str:
        """SHA-256 over what is stored and the source's name where settings give none, for ids begin with it."""
        data = json.dumps([self.stored(), None if self.shape.source else self.default_source])
        return hashlib.sha256(data.encode()).hexdigest()

    @cached_property
    def _source(self) -> str:
        return self.shape.source or self.default_source


class Table(Shaped[T]):
    """Rows of one place, which settings say how to read."""

    @property
    def shape(self) -> TableSettings:
        return self.settings


class FileTable(Table[F]):
    """Rows of one file, named after it."""

    @property
    def default_source(self) -> str:
        return Path(self.settings.path).stem

    def stored(self) -> str:
        return file_digest(Path(self.settings.path))


class _Watched(dict[str, Any]):
    """The values of a row, which note in `read` which of them are looked at."""

    def __init__(self, values: Mapping[str, Any], read: set[str]) -> None:
        super().__init__(values)
        self._read = read

    def get(self, key: str, default: Any = None) -> Any:
        self._read.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self._read.add(key)
        return super().__getitem__(key)


class Names:
    """Ids that are taken; one that comes again becomes the next free `#2`, `#3` …."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._counts: dict[str, int] = {}

    def free(self, name: str) -> str:
        """The id for the next record that would be called so."""
        if name not in self._used:
            self._used.add(name)
            return name
        count = self._counts.get(name, 1)
        while (numbered := f"{name}#{count + 1}") in self._used:
            count += 1
        self._counts[name] = count + 1
        self._used.add(numbered)
        return numbered

    def named(self, record: R) -> R:
        """The record, or the row of one, under an id that no other has."""
        name = self.free(record.id)
        if name == record.id:
            return record
        if isinstance(record, MadeRow):
            return cast("R", record.with_record(replace(record.record, id=name)))
        return replace(record, id=name)


def unique(records: Iterable[R]) -> Iterator[R]:
    """The records in their order, their ids told apart."""
    return map(Names().named, records)


def together(names: Iterable[Collection[str] | None]) -> Collection[str] | None:
    """Names of all data sets that are one, each once; None where one does not know its own.

    >>> sorted(together([["a"], ["a", "b"]]) or ()), together([["a"], None])
    (['a', 'b'], None)
    """
    found: set[str] = set()
    for some in names:
        if some is None:
            return None
        found.update(some)
    return found


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    if path.is_dir():
        raise DataError(
            f"{path}: a folder, where a file is read; name a file in it, or write `use: parquet` for a folder of "
            "parquet files, or `use: hub` for one that datasets.save_to_disk wrote"
        )
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
