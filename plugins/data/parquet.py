"""Parquet files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.plugins.data.arrow import parts_of, rows_of
from aftertrain.plugins.data.row import LONGEST, TOO_LONG, Row
from aftertrain.plugins.data.settings import ParquetSettings
from aftertrain.plugins.data.table import FileTable, file_digest

SPLIT = re.compile(r"(?:^|[-_./])(train|test|validation|valid|dev|eval)(?=[-_./]|$)")
"""Where the name of a file tells its split, as the hub's do."""

BATCH, MOST_ROWS = 16 * 2**20, 4096
"""Bytes and rows that are read at once."""


class Parquet(FileTable[ParquetSettings]):
    """One parquet file, or all of a folder, read batch by batch. Rows are counted from 1 in messages."""

    Config = ParquetSettings

    def stored(self) -> str:
        path = Path(self.settings.path)
        if not path.is_dir():
            return super().stored()
        names = [f"{file.relative_to(path).as_posix()}\0{file_digest(file)}\n" for file in self._files()]
        return hashlib.sha256("".join(names).encode()).hexdigest()

    def rows(self) -> Iterator[Row]:
        import pyarrow
        from pyarrow.parquet import ParquetFile

        for path in self._files():
            number = 0
            try:
                with ParquetFile(path) as file:
                    for batch in file.iter_batches(_batch_rows(file.metadata)):
                        for part in parts_of(batch):
                            if part.nbytes <= LONGEST:
                                yield from rows_of(part, str(path), number + 1)
                            else:
                                yield Row(f"{path}:row {number + 1}", {"row": number + 1}, TOO_LONG, columnar=True)
                            number += part.num_rows
            except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
                raise DataError(f"{path}: cannot be read as parquet: {error}") from error

    def _files(self) -> Sequence[Path]:
        """The file, or a folder's files in the order of their names.

        Raises:
            DataError: the folder has none, or those of several splits.
        """
        path = Path(self.settings.path)
        if not path.is_dir():
            return [path]
        inside = {file: file.relative_to(path).as_posix() for file in sorted(path.rglob("*.parquet"))}
        files = [file for file, name in inside.items() if not name.startswith(".") and "/." not in name]
        if not files:
            raise DataError(
                f"{path}: a folder without .parquet files; one that datasets.save_to_disk wrote is read by `use: hub`"
            )
        splits = {split for file in files for split in SPLIT.findall(inside[file])[:1]}
        if len(splits) > 1:
            raise DataError(
                f"{path}: the folder holds files of several splits ({', '.join(sorted(splits))}); write `use: hub` "
                "with the split, or name a folder or file of one"
            )
        return files


def _batch_rows(about: Any) -> int:
    """Rows that are read at once: as many as have some 16 MiB, for all that the file's description tells."""
    sizes = [about.row_group(i) for i in range(about.num_row_groups)]
    widest = max((group.total_byte_size / max(1, group.num_rows) for group in sizes), default=1.0)
    return int(min(MOST_ROWS, max(1.0, BATCH / max(1.0, widest))))
