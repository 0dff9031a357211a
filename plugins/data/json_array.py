"""Files that are one JSON array."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from aftertrain.core.errors import DataError
from aftertrain.plugins.data.row import LONGEST, TOO_DEEP, TOO_LONG, Row, described
from aftertrain.plugins.data.settings import JsonSettings
from aftertrain.plugins.data.table import FileTable

CHUNK = 2**18
"""Characters that are read at once."""
SPACE = " \t\n\r"


class JsonArray(FileTable[JsonSettings]):
    """One JSON array of objects, however its lines are broken, read value by value. Rows are counted from 1."""

    Config = JsonSettings

    def rows(self) -> Iterator[Row]:
        path = self.settings.path
        try:
            with Path(path).open(encoding="utf-8-sig") as file:
                for number, value in enumerate(_Array(file, path).values(), 1):
                    where = f"{path}:row {number}"
                    if isinstance(value, dict):
                        yield Row(where, value)
                    else:
                        broken = ("not_an_object", f"expected an object, found {described(value)}")
                        yield Row(where, {"value": value}, broken)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read as JSON: {getattr(error, 'strerror', None) or error}") from error


class _Array:
    """The values of an array, of which no more than one and a chunk are in memory."""

    def __init__(self, file: IO[str], path: str) -> None:
        self._file, self._path = file, path
        self._decoder = json.JSONDecoder()
        self._text, self._at, self._ended = "", 0, False
        self._number = 0

    def values(self) -> Iterator[Any]:
        """The values in their order.

        Raises:
            DataError: the file is no array, or not JSON from some row on; says which.
        """
        if self._next() != "[":
            raise DataError(f"{self._path}: expected an array of objects, found {described(self._value())}")
        self._at += 1
        if self._next() != "]":
            while True:
                self._number += 1
                yield self._value()
                mark = self._next()
                self._at += 1
                if mark == "]":
                    break
                if mark != ",":
                    self._fail("expected ',' or ']' after it" if mark else "the file ends within the array")
        else:
            self._at += 1
        if self._next():
            raise DataError(f"{self._path}: cannot be read as JSON: there is more after the array")

    def _value(self) -> Any:
        """The value that begins here."""
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise DataError(f"{self._place}: {TOO_DEEP}") from error
            except json.JSONDecodeError as error:
                if self._ended or not self._text:
                    self._fail(error.msg)
            except ValueError as error:
                self._fail(str(error))
            else:
                # A number may go on in what is not read yet.
                if end < len(self._text) or self._ended or isinstance(value, dict | list | str):
                    self._at = end
                    return value
            if len(self._text) - self._at > LONGEST:
                self._fail(f"it is not JSON, or {TOO_LONG[1]}")
            self._read(max(CHUNK, len(self._text) - self._at))

    def _next(self) -> str:
        """The next character that is no space, to which this moves; empty at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._read(CHUNK)

    def _read(self, size: int) -> None:
        more = self._file.read(size)
        self._ended = len(more) < size
        self._text, self._at = self._text[self._at :] + more, 0

    def _fail(self, why: str) -> NoReturn:
        raise DataError(f"{self._place}: cannot be read as JSON: {why}")

    @property
    def _place(self) -> str:
        return f"{self._path}:row {self._number}" if self._number else self._path
