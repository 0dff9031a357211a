"""Data sets of the Hugging Face hub, or local folders in the same form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import DataError
from aftertrain.core.ground.hub import load_from_hub
from aftertrain.plugins.data.arrow import parts_of, rows_of
from aftertrain.plugins.data.row import Row
from aftertrain.plugins.data.saved import is_saved, load_saved
from aftertrain.plugins.data.settings import HubSettings
from aftertrain.plugins.data.table import Table

if TYPE_CHECKING:
    from datasets import Dataset as HubDataset
    from pyarrow import RecordBatch

BATCH = 1000
"""Rows that are read at once."""
_DIGESTS: dict[str, str] = {}
"""Digests by what says that the rows are the same: a plan asks for them several times a stage."""


class Hub(Table[HubSettings]):
    """Rows of `datasets.load_dataset`, from the hub, its local cache, or a local folder."""

    Config = HubSettings
    options: Mapping[str, str | bool] = {}
    """More arguments of the library's loader."""

    @property
    def default_source(self) -> str:
        return self.settings.path.rstrip("/").rsplit("/", 1)[-1]

    def stored(self) -> str:
        """Digest of the rows themselves: equal rows are equal data, wherever they were fetched from."""
        table = self._table
        files = [Path(file["filename"]) for file in table.cache_files]
        stats = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
        state = str((table._fingerprint, table.features, stats))
        if not files or state not in _DIGESTS:
            _DIGESTS[state] = self._digest()
        return _DIGESTS[state]

    def rows(self) -> Iterator[Row]:
        place, number = f"{self.settings.path}:{self.settings.split}", 1
        if not _is_as_stored(self._table):
            for number, values in enumerate(self._table, 1):
                yield Row(f"{place}:row {number}", values, columnar=True)
            return
        for part in self._parts():
            yield from rows_of(part, place, number)
            number += part.num_rows

    def _digest(self) -> str:
        digest, encode = hashlib.sha256(), json.JSONEncoder(sort_keys=True, default=str).encode
        for row in self.rows():
            digest.update(encode(row.values).encode() + b"\n")
        return digest.hexdigest()

    def _parts(self) -> Iterator[RecordBatch]:
        for table in self._table.with_format("arrow").iter(BATCH):
            for batch in table.combine_chunks().to_batches():
                yield from parts_of(batch)

    @cached_property
    def _table(self) -> HubDataset:
        import datasets

        datasets.disable_progress_bars()
        chosen, folder = self.settings, Path(self.settings.path)
        if folder.is_file():
            use = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json"}.get(folder.suffix, "jsonl")
            raise DataError(f"{folder}: a file, where `use: hub` takes a folder: write `use: {use}`")
        if folder.is_absolute() and not folder.is_dir():
            raise DataError(f"data set {chosen.path!r}: there is no such folder")
        if is_saved(folder):
            return load_saved(folder, chosen.split, given="split" in chosen.model_fields_set)
        named = f"data set {chosen.path!r}"
        return load_from_hub(
            chosen.path, chosen.subset, chosen.split, chosen.revision, named=named, options=self.options
        )


def _is_as_stored(table: HubDataset) -> bool:
    """Whether a row is what Arrow holds, with nothing to decode (images, audio) and no format to put it in."""
    import datasets

    left: list[Any] = [dict(table.features)]
    while left:
        feature = left.pop()
        if isinstance(feature, dict):
            left += feature.values()
        elif isinstance(feature, datasets.List | datasets.LargeList):
            left.append(feature.feature)
        elif not isinstance(feature, datasets.Value | datasets.ClassLabel):
            return False
    return table.format["type"] is None and table.format["columns"] == table.column_names
