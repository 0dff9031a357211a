"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator

from aftertrain.core.errors import DataError
from aftertrain.plugins.data.row import Row
from aftertrain.plugins.data.settings import ParquetSettings
from aftertrain.plugins.data.table import FileTable


class Parquet(FileTable[ParquetSettings]):
    """One parquet file, read batch by batch. Rows are counted from 1 in messages."""

    Config = ParquetSettings

    def rows(self) -> Iterator[Row]:
        import pyarrow
        from pyarrow.parquet import ParquetFile

        path, number = self.settings.path, 0
        try:
            with ParquetFile(path) as file:
                for batch in file.iter_batches():
                    for row in batch.to_pylist():
                        number += 1
                        yield Row(f"{path}:row {number}", row, columnar=True)
        except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
            raise DataError(f"{path}: cannot be read as parquet: {error}") from error
