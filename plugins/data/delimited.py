"""CSV files."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from aftertrain.core.errors import DataError
from aftertrain.plugins.data.row import LONGEST, TOO_LONG, Row
from aftertrain.plugins.data.settings import CsvSettings
from aftertrain.plugins.data.table import FileTable


class Csv(FileTable[CsvSettings]):
    """Lines of a CSV file under a line of column names. Messages name the line in which a row ends."""

    Config = CsvSettings

    def rows(self) -> Iterator[Row]:
        path, number = self.settings.path, 1
        # The library's own limit of 131,072 characters is too few for a long document.
        csv.field_size_limit(LONGEST)
        try:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(_lines(file), delimiter=self.settings.delimiter, strict=True)
                names = next(reader, [])
                if twice := [name for name, count in Counter(names).items() if count > 1]:
                    raise DataError(
                        f"{path}:{reader.line_num}: several columns have one name: "
                        f"{', '.join(map(repr, twice))}; give each its own, or take out those that are not needed"
                    )
                for values in reader:
                    number = reader.line_num
                    if len(values) == len(names):
                        yield Row(f"{path}:{number}", dict(zip(names, values, strict=True)), textual=True)
                    elif values:
                        broken = ("wrong_columns", f"expected {len(names)} values, found {len(values)}")
                        yield Row(f"{path}:{number}", {"line": values}, broken)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}:{number}: cannot be read as CSV: {error}") from error


def _lines(file: IO[str]) -> Iterator[str]:
    """The lines.

    Raises:
        csv.Error: one is too long to be part of a row.
    """
    while line := file.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise csv.Error(TOO_LONG[1])
        yield line
