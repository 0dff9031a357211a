"""Files that are one JSON array."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from aftertrain.core.errors import DataError
from aftertrain.plugins.data.row import TOO_DEEP, Row, described
from aftertrain.plugins.data.settings import JsonSettings
from aftertrain.plugins.data.table import FileTable


class JsonArray(FileTable[JsonSettings]):
    """One JSON array of objects, however its lines are broken. Rows are counted from 1 in messages."""

    Config = JsonSettings

    def rows(self) -> Iterator[Row]:
        path = self.settings.path
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as JSON: {getattr(error, 'strerror', None) or error}") from error
        except RecursionError as error:
            raise DataError(f"{path}: {TOO_DEEP}") from error
        if not isinstance(found, list):
            raise DataError(f"{path}: expected an array of objects, found {described(found)}")
        for number, value in enumerate(found, 1):
            where = f"{path}:row {number}"
            if isinstance(value, dict):
                yield Row(where, value)
            else:
                broken = ("not_an_object", f"expected an object, found {described(value)}")
                yield Row(where, {"value": value}, broken)
