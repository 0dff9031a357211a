"""Where the rows of a source lie: on the hub, in a file, or in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from aftertrain.core.errors import DataError
from aftertrain.core.settings import Builder
from aftertrain.plugins.data.delimited import Csv
from aftertrain.plugins.data.hub import Hub
from aftertrain.plugins.data.json_array import JsonArray
from aftertrain.plugins.data.jsonl import Jsonl
from aftertrain.plugins.data.parquet import Parquet
from aftertrain.plugins.data.row import Row
from aftertrain.plugins.data.saved import is_saved
from aftertrain.plugins.data.settings import (
    CsvSettings,
    HubSettings,
    JsonlSettings,
    JsonSettings,
    ParquetSettings,
)
from aftertrain.plugins.data.sources.entry import Entry
from aftertrain.plugins.data.sources.settings import SourceSettings

ENDS = (".jsonl", ".jsonl.gz", ".json", ".parquet", ".csv", ".tsv")


class Place(Protocol):
    """Rows as they lie there."""

    def rows(self) -> Iterator[Row]:
        """All, with where each stands."""

    def stored(self) -> str:
        """Hex digest of them."""


class Files:
    """Files of a folder, one after another in the order of their names."""

    def __init__(self, files: Sequence[Place]) -> None:
        self._files = files

    def rows(self) -> Iterator[Row]:
        """All rows of all files."""
        for file in self._files:
            yield from file.rows()

    def stored(self) -> str:
        """Of the files' digests."""
        return hashlib.sha256("\n".join(file.stored() for file in self._files).encode()).hexdigest()


class OnHub(Hub):
    """A data set that the hub's loader needs arguments for."""

    def __init__(self, settings: HubSettings, builder: Builder, options: Mapping[str, str | bool]) -> None:
        super().__init__(settings, builder)
        self.options = options


def open_place(settings: SourceSettings, entry: Entry, builder: Builder) -> Place:
    """The place that settings and catalogue name; nothing is read.

    Raises:
        DataError: a path leads to nothing that is read.
    """
    if settings.path is None:
        split = settings.split or entry.split
        where = HubSettings(path=entry.hub, subset=entry.subset, split=split, revision=settings.revision)
        return OnHub(where, builder, entry.options)
    path = Path(settings.path)
    if path.is_dir():
        return _folder(path, settings, entry, builder)
    if not path.is_file():
        raise DataError(f"source {settings.name!r}: there is no file or folder {settings.path}")
    return _file(path, entry, builder)


def _folder(path: Path, settings: SourceSettings, entry: Entry, builder: Builder) -> Place:
    files = sorted(file for file in path.iterdir() if file.name.endswith(ENDS) and not file.name.startswith("."))
    if is_saved(path):
        chosen: dict[str, Any] = {"split": settings.split} if settings.split else {}
        return Hub(HubSettings(path=str(path), **chosen), builder)
    if not files or settings.split or all(file.suffix == ".parquet" for file in files):
        if settings.split is None and any(path.rglob("*.parquet")):
            return Parquet(ParquetSettings(path=str(path)), builder)
        return OnHub(HubSettings(path=str(path), split=settings.split or "train"), builder, entry.options)
    return Files([_file(file, entry, builder) for file in files])


def _file(path: Path, entry: Entry, builder: Builder) -> Place:
    name, given = str(path), {"path": str(path)}
    if name.endswith(".parquet"):
        return Parquet(ParquetSettings(**given), builder)
    if name.endswith((".csv", ".tsv")):
        usual = "\t" if name.endswith(".tsv") else ","
        return Csv(CsvSettings(delimiter=str(entry.options.get("delimiter", usual)), **given), builder)
    if name.endswith(".json"):
        return JsonArray(JsonSettings(**given), builder)
    if name.endswith((".jsonl", ".jsonl.gz")):
        return Jsonl(JsonlSettings(**given), builder)
    raise DataError(f"{path}: a source is read from files that end in {', '.join(ENDS)}, or a folder of them")
