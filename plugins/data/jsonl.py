"""JSON lines, plain or gzipped."""

from __future__ import annotations

import codecs
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from aftertrain.core.errors import DataError
from aftertrain.plugins.data.row import LONGEST, SHALLOW, TOO_DEEP, TOO_LONG, Row, described
from aftertrain.plugins.data.settings import JsonlSettings
from aftertrain.plugins.data.table import FileTable

ENDLESS = 2**30
"""Bytes of a line after which the file is given up."""
_DECODER = json.JSONDecoder()
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Jsonl(FileTable[JsonlSettings]):
    """One JSON object a line; blank lines are passed over, later ones that hold no object are broken rows.

    A file whose first line holds none is something else, and is refused.
    """

    Config = JsonlSettings

    @property
    def default_source(self) -> str:
        return Path(self.settings.path).name.split(".")[0]

    def rows(self) -> Iterator[Row]:
        path, number, first = self.settings.path, 0, True
        try:
            with opened(path) as file:
                for number, line in enumerate(long_lines(file), 1):
                    if not line.strip():
                        continue
                    row = _parse(line.removeprefix(codecs.BOM_UTF8) if first else line, f"{path}:{number}")
                    if first and row.broken is not None:
                        raise DataError(f"{row.where}: {_other_kind(line) or row.broken[1]}")
                    first = False
                    yield row
        except (OSError, EOFError, zlib.error) as error:
            where = f"{path}:{number + 1}" if number else path
            raise DataError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def opened(path: str) -> IO[bytes]:
    """A file of lines, plain or gzipped."""
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.endswith(".gz") else Path(path).open("rb")


def long_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines; of one that is too long only its beginning, the rest being passed over.

    Raises:
        OSError: a line goes on and on, as that of a file of zeros.
    """
    while line := file.readline(LONGEST + 1):
        passed, more = 0, line
        while len(line) > LONGEST and not more.endswith(b"\n") and (more := file.readline(2**20)):
            passed += len(more)
            if passed > ENDLESS:
                raise OSError(f"the line has more than {ENDLESS // 2**20:,} MiB")
        yield line


def _parse(line: bytes, where: str) -> Row:
    if len(line) > LONGEST:
        return Row(where, {"line": line[:1000].decode("utf-8", "replace")}, TOO_LONG)
    try:
        value = _loaded(line.rstrip().decode("utf-8"))
    except UnicodeDecodeError as error:
        broken = ("not_utf8", f"not UTF-8 at byte {error.start} of the line")
    except json.JSONDecodeError as error:
        broken = ("not_json", f"not JSON: {error.msg} at column {error.colno}; one object per line is expected")
    except RecursionError:
        broken = ("not_json", TOO_DEEP)
    except ValueError:
        # The one that is left: a whole number of more digits than the interpreter converts.
        digits = f"{sys.get_int_max_str_digits():,}"
        broken = (
            "not_json",
            f"not JSON that can be read: a whole number of more than {digits} digits; write it as a text",
        )
    else:
        if isinstance(value, dict):
            return Row(where, value, plain=_plain(line))
        broken = ("not_an_object", f"expected a JSON object, found {described(value)}")
    return Row(where, {"line": line.decode("utf-8", "replace")}, broken)


def _loaded(text: str) -> Any:
    """As `json.loads`, without the steps that a text with white space around its value needs."""
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError:
        end = -1
    return value if end == len(text) else json.loads(text)


def _plain(line: bytes) -> bool:
    """Whether a line of UTF-8 holds no half of a surrogate pair, which would be an escape, and no deep nesting."""
    escapes = b"\\u" in line and (b"\\ud" in line or b"\\uD" in line)
    return not escapes and line.count(b"[") + line.count(b"{") <= SHALLOW


def _other_kind(line: bytes) -> str:
    """What a file is that begins with this line, and how to read it; empty where that cannot be told."""
    if line.startswith(b"PAR1"):
        return "this is a parquet file: write `use: parquet`"
    if line.startswith(b"\x1f\x8b"):
        return "the file is gzipped: give it a name that ends in .jsonl.gz"
    if line.startswith(UTF16) or b"\0" in line[:4]:
        return "the file is UTF-16; save it as UTF-8"
    text = line.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if text.startswith("["):
        return "looks like a JSON array, not one object a line: write `use: json`"
    if text == "{" or (text.startswith("{") and not text.endswith("}") and text.endswith((",", "[", "{", ":"))):
        return (
            "looks like JSON over several lines; one object per line is expected: `jq -c . FILE > NEW.jsonl` "
            "writes it so"
        )
    if "," in text and not text.startswith("{"):
        return "looks like CSV: write `use: csv`"
    if "\t" in text and not text.startswith("{"):
        return 'looks like tab-separated columns: write `use: csv, delimiter: "\\t"`'
    return ""
