"""Files that anyone may have written into: read with bounds, decoded, and validated as a type.

Every file that aftertrain reads as text or JSON comes through here, so that a broken one is told by file, line and
cure, and none can hang the program, fill its memory or end it with a traceback: only regular files are opened, size,
nesting and digits are bounded before anything is built, and what was read has the type that its reader asked for.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TypeVar, cast

from annotated_types import Ge

from aftertrain.core.errors import AftertrainError, RunError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

NotNegative = Annotated[int, Ge(0)]
"""A count in a record."""
CURE = "take this checkpoint away to go on from the one before, or start anew with --restart"
"""What mends a checkpoint's record."""
SIZE = 64 << 20
"""Bytes of a file that is read whole, unless its reader says otherwise."""
LINE = 64 << 20
"""Bytes of one line of a file that is read line by line."""
DEPTH = 100
"""Brackets inside brackets."""
BITS = 64
"""Whole numbers beyond so many bits are refused."""
_SHOWN = 80
_BLOCK = 1 << 20
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_LONG_NUMBER = re.compile(r"[0-9]{19}")
_WIDE = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}


def read_bytes(path: Path, *, limit: int = SIZE, error: type[AftertrainError] = RunError, cure: str = "") -> bytes:
    """Content of a regular file.

    Args:
        limit: bytes beyond which the file is refused before it is read.
        error: class of what is raised.
        cure: ends each message.

    Raises:
        error: there is no such file, it is none that can be read through (a pipe, a device), or it is too large.
    """
    with _opened(path, error, cure) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise error(_told(f"{path}", f"has {size:,} bytes; at most {limit:,} are read", cure))
        content = file.read(limit + 1)
    if len(content) > limit:
        raise error(_told(f"{path}", f"grows while it is read; at most {limit:,} bytes are", cure))
    return content


def read_text(path: Path, *, limit: int = SIZE, error: type[AftertrainError] = RunError, cure: str = "") -> str:
    """A file's text: UTF-8, a byte order mark left out.

    Raises:
        error: see `read_bytes`; or it is no UTF-8, told with the line.
    """
    return decode(read_bytes(path, limit=limit, error=error, cure=cure), str(path), error=error, cure=cure)


def read_json(
    path: Path, kind: type[T], *, limit: int = SIZE, error: type[AftertrainError] = RunError, cure: str = ""
) -> T:
    """Content of a JSON file as `kind` (a pydantic model, a dataclass, `dict[str, str]` …).

    Raises:
        error: see `read_text`; or it is no JSON, or none of that kind: told with line or field.
    """
    text = read_text(path, limit=limit, error=error, cure=cure)
    return typed(parse_json(text, str(path), error=error, cure=cure), kind, str(path), error=error, cure=cure)


def read_lines(path: Path, *, limit: int = LINE) -> Iterator[tuple[int, bytes]]:
    """Lines of a file with their numbers from 1, line ends included; a longer one comes without what is past `limit`.

    Raises:
        RunError: see `read_bytes`.
    """
    with _opened(path, RunError, "") as file:
        for number in count(1):
            if not (line := file.readline(limit)):
                return
            yield number, line
            while not line.endswith(b"\n") and (line := file.readline(_BLOCK)):
                pass


def decode(data: bytes, where: str, *, error: type[AftertrainError] = RunError, cure: str = "") -> str:
    """Bytes as UTF-8 text, a byte order mark left out.

    Raises:
        error: they are another encoding; names the line.
    """
    for mark, name in _WIDE.items():
        if data.startswith(mark):
            raise error(_told(where, f"is {name} text; save it as UTF-8", cure))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        line = data.count(b"\n", 0, reason.start) + 1
        raise error(_told(f"{where}:{line}", f"byte 0x{data[reason.start]:02x} is no UTF-8 text", cure)) from reason


def parse_json(
    text: str, where: str, *, line: int | None = None, error: type[AftertrainError] = RunError, cure: str = ""
) -> Any:
    """A JSON value of bounded nesting and whole numbers of at most 64 bits.

    Args:
        line: which of the file's lines the text is; None for a whole file.

    Raises:
        error: it is none; names line and column.
    """
    at = where if line is None else f"{where}:{line}"
    if _too_deep(text):
        raise error(_told(at, f"more than {DEPTH} brackets inside one another", cure))
    try:
        # The hook costs a call for each number: only where one may be too long.
        return json.loads(text, parse_int=_whole if _LONG_NUMBER.search(text) else None)
    except json.JSONDecodeError as reason:
        place = f"{where}:{reason.lineno if line is None else line}:{reason.colno}"
        raise error(_told(place, f"not JSON: {_shortened(reason.msg)}", cure)) from reason
    except (ValueError, RecursionError) as reason:
        raise error(_told(at, f"not JSON: {_shortened(str(reason))}", cure)) from reason


def typed(value: Any, kind: type[T], where: str, *, error: type[AftertrainError] = RunError, cure: str = "") -> T:
    """`value` as `kind`.

    Raises:
        error: it does not fit; names the first field that does not.
    """
    from pydantic import ValidationError

    try:
        fitting: T = adapter(cast("Any", kind)).validate_python(value)
    except ValidationError as reason:
        first = reason.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        fault = first["msg"][:1].lower() + first["msg"][1:]
        message = f"{_shortened(field)}: {fault}" if field else fault
        raise error(_told(where, _shortened(message, 4 * _SHOWN), cure)) from reason
    return fitting


@lru_cache(maxsize=256)
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Pydantic's validator of a type, made once."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


@contextmanager
def _opened(path: Path, error: type[AftertrainError], cure: str) -> Iterator[BinaryIO]:
    """A regular file to be read in the block; a pipe does not block, a device is never read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise error(_told(f"{path}", "is no regular file", cure))
        with os.fdopen(descriptor, "rb") as file:
            yield file
    except (OSError, ValueError) as reason:
        fault = getattr(reason, "strerror", None) or reason
        raise error(_told(f"{path}", f"cannot be read: {fault}", cure)) from reason


def _too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= DEPTH:
        return False
    brackets = _NO_BRACKET.sub("", _STRING.sub("", text))
    return max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0) > DEPTH


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(1 << BITS - 1) <= (number := int(digits)) < 1 << BITS:
        raise ValueError(f"a whole number of {len(digits.lstrip('-')):,} digits; at most {BITS} bits are read")
    return number


def _shortened(text: str, limit: int = _SHOWN) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _told(where: str, what: str, cure: str) -> str:
    return f"{where}: {what}" + (f"; {cure}" if cure else "")
