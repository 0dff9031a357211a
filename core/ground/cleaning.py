"""The border at which what models, programs and plugins wrote is made fit to be kept and shown. Standard library only.

- `clean`: text that UTF-8 can hold. Records of a model's or verifier's words pass through it when they are made.
- `plain`: any value as JSON data, for events and JSON files; it never raises.
- `visible`, `printable`: text without what a terminal or a page would obey.
- `described`: an exception in words, even one that cannot say what it is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from aftertrain.core.ground.redaction import redacted

LONGEST = 1_000_000
"""Characters of one text in an event or a JSON file: far above what a model writes, far below what fills a disk."""
DEEPEST = 100
"""Levels of nesting that are kept; a reader of JSON may refuse many more."""
MANY_BITS = 4096
"""Bits of an integer that is still written in decimal digits: Python and others refuse to read much longer ones."""

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_HALF = re.compile("[\ud800-\udfff]")
# Controls of direction (overrides, isolates, marks) could make a page read other than its bytes say.
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# JSON may hold these as they are, but terminals obey some, and some tools take others for the end of a line.
_ESCAPED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """`text` as UTF-8 can hold it: halves of one surrogate pair are joined, a lone half becomes its escape.

    >>> clean("a" + chr(0xD800) + "b"), clean(chr(0xD83D) + chr(0xDE00)) == chr(0x1F600)
    ('a\\\\ud800b', True)
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", _PAIR.sub(_joined, text))
    return text


def worded(value: object, limit: int) -> str:
    """Whatever was given where a text belongs, as a clean text of at most `limit` characters.

    >>> worded(b"\\xff\\x41", 10), worded(7, 10), worded("abc", 2)
    ('\\\\xffA', '7', 'a…')
    """
    if type(value) is str and value.isascii() and len(value) <= limit:
        return value
    text = _text(value)
    return clean(text if len(text) <= limit else text[: limit - 1] + "…")


def described(error: BaseException) -> str:
    """Class and message of an exception, whatever its `str()` does.

    >>> described(ValueError(chr(0xD800)))
    'ValueError: \\\\ud800'
    """
    try:
        message = str(error)
    except Exception as second:  # noqa: BLE001 - a stranger's __str__
        message = f"(its message cannot be had: {type(second).__name__})"
    return clean(f"{type(error).__name__}: {message}" if message else type(error).__name__)


def plain(value: Any, *, verbatim: bool = False) -> Any:
    """`value` as JSON data in which all text is clean; floats may still be NaN or infinite (see `finite`).

    Secrets are hidden, except in what is kept `verbatim`: texts of models and data sets, which must not be altered for
    looking like one.

    Keys become text as `json` writes them, and stay apart when two become the same. NumPy's and torch's numbers become
    Python's, arrays and sets lists (sets in order of their text), bytes text, dataclasses mappings; what is none of
    these, its text. Texts above a million characters are cut, and say so.

    >>> plain({1: {"b", "a"}, "1": b"x", (2, 3): float("nan")})
    {'1': ['a', 'b'], '1 (2)': 'x', '(2, 3)': nan}
    """
    data = _plain(value, ())
    return data if verbatim else _hidden(data)


def finite(value: Any) -> Any:
    """`value` with NaN and infinities written as strings, because JSON has no other honest way to say them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def json_text(value: Any, *, indent: int | None = None, verbatim: bool = False) -> str:
    """`value` as JSON that every reader takes: plain, finite, and with no character that a terminal obeys.

    >>> json_text({"a": float("inf"), "b": chr(0x9B) + "é"})
    '{"a": "inf", "b": "\\\\u009bé"}'
    """
    return json_written(plain(value, verbatim=verbatim), indent=indent)


def json_written(data: Any, *, indent: int | None = None) -> str:
    """Data that are `plain` already, as `json_text` writes them.

    >>> json_written({"a": [1.5, float("nan")]})
    '{"a": [1.5, "nan"]}'
    """
    try:
        written = json.dumps(data, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:  # a float that JSON cannot say; most data have none
        written = json.dumps(finite(data), ensure_ascii=False, allow_nan=False, indent=indent)
    return unobeyed(written)


def unobeyed(written: str) -> str:
    """JSON with escapes for the characters that terminals obey, or that some tools take for the end of a line."""
    if written.isascii() and "\x7f" not in written:
        return written
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", written)


def visible(text: str) -> str:
    """`text` with control characters replaced by signs: `\\x00` by `␀`, a right-to-left override by `⟨U+202E⟩`.

    Tabs and line feeds stay; CR LF becomes LF.

    >>> visible("a\\x00b")
    'a␀b'
    """
    text = text.replace("\r\n", "\n")
    text = _DIRECTION.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)
    return _CONTROL.sub(_sign, text)


def printable(text: str, encoding: str | None = None) -> str:
    """`text` for a terminal that shows `encoding`: visible, and with escapes for what it cannot show.

    >>> printable("\\x1b[2Jé", "ascii")
    '\\\\u241b[2J\\\\xe9'
    """
    shown = visible(redacted(text))
    try:
        return shown if encoding is None else shown.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:  # an encoding that Python does not know
        return shown.encode("ascii", "backslashreplace").decode()


def _hidden(data: Any) -> Any:
    """JSON data without secrets."""
    if isinstance(data, str):
        return redacted(data)
    if isinstance(data, dict):
        # Two keys that are hidden stay two.
        hidden: dict[str, Any] = {}
        for key, item in data.items():
            name = redacted(key)
            hidden[name if name not in hidden else f"{name} ({len(hidden)})"] = _hidden(item)
        return hidden
    return [_hidden(item) for item in data] if isinstance(data, list) else data


def _plain(value: Any, around: tuple[int, ...]) -> Any:
    """`around` holds the identities of what the value stands in."""
    kind = type(value)
    if value is None or kind is bool or kind is float:
        return value
    if kind is str:
        return _cut(value)
    if kind is int:
        return value if value.bit_length() <= MANY_BITS else hex(value)
    if len(around) >= DEEPEST or id(value) in around:
        return "…"
    try:
        return _unusual(value, (*around, id(value)))
    except Exception as error:  # noqa: BLE001 - a stranger's class may raise from anything that is asked of it
        return f"({kind.__name__} that cannot be written: {type(error).__name__})"


def _unusual(value: Any, around: tuple[int, ...]) -> Any:
    if isinstance(value, Mapping):
        return _mapping(value.items(), around)
    if isinstance(value, list | tuple):
        return [_plain(item, around) for item in value]
    if isinstance(value, Enum):
        return _plain(value.value, around)
    if isinstance(value, str | bytes | bytearray | memoryview):
        return _cut(_text(value))
    if isinstance(value, int):
        return _plain(int.__int__(value), around)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, AbstractSet):
        return sorted((_plain(item, around) for item in value), key=repr)
    if is_dataclass(value) and not isinstance(value, type):
        return _mapping(((field.name, getattr(value, field.name)) for field in fields(value)), around)
    if callable(getattr(value, "tolist", None)):  # a number or array of NumPy or torch
        return _plain(value.tolist(), around)
    return _cut(_text(value))


def _mapping(items: Iterable[tuple[Any, Any]], around: tuple[int, ...]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for key, item in items:
        name = _key(key)
        number = 1
        while name in named:
            number += 1
            name = f"{_key(key)} ({number})"
        named[name] = _plain(item, around)
    return named


def _key(key: Any) -> str:
    if isinstance(key, str):
        return _cut(str.__str__(key))
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return _cut(_text(key))


def _cut(text: str) -> str:
    """A clean text that says what was cut off."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}… ({len(text) - LONGEST:,} characters more)"
    return clean(text)


def _text(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, int) and not isinstance(value, bool) and int(value).bit_length() > MANY_BITS:
        return hex(value)
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a stranger's __str__
        return f"({type(value).__name__} whose text cannot be had: {type(error).__name__})"


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
