"""What crosses between a program and its tests: plain data, as JSON. Nothing of it can run code on arrival.

None, booleans, numbers, texts, bytes, lists, tuples, sets, dicts, ranges, decimals and fractions arrive as what they
are, subclasses as their base (a Counter as a dict, a named tuple as a tuple). Everything else stays where it is, and
its number arrives.
"""

from __future__ import annotations

import collections
import json
import numbers
import os
import struct
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

LARGEST = 64 * 2**20
"""Bytes of one message."""
_JSON_INT = 2**53
_COLLECTIONS: tuple[tuple[Any, str], ...] = ((tuple, "t"), (set, "s"), (frozenset, "z"), (collections.deque, "q"))


class Uncarried(Exception):
    """A value that cannot cross; nothing is known about the test that needs it."""


class Gone(Exception):
    """The other side has ended."""


def encode(value: Any, keep: Callable[[Any], Any]) -> Any:
    """Plain data for JSON; `keep` says what stands for an object that has to stay.

    Raises:
        RecursionError: the value holds itself, or is nested too deeply.
    """
    kind = type(value)
    if value is None or kind is bool or kind is str or kind is float:
        return value
    if isinstance(value, bool | str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__index__(value)
        return number if -_JSON_INT < number < _JSON_INT else {"i": hex(number)}
    if isinstance(value, float):
        return float.__float__(value)
    return _encode_more(value, keep)


def _encode_more(value: Any, keep: Callable[[Any], Any]) -> Any:
    def items(values: Any) -> list[Any]:
        return [encode(item, keep) for item in values]

    if isinstance(value, list):
        return items(list.__iter__(value))
    if isinstance(value, dict):
        return {"d": [items(pair) for pair in dict.items(value)]}
    for collection, tag in _COLLECTIONS:
        if isinstance(value, collection):
            return {tag: items(collection.__iter__(value))}
    if isinstance(value, bytes | bytearray):
        return {"b" if isinstance(value, bytes) else "a": bytes(value).hex()}
    if type(value) is range:
        return {"r": items((value.start, value.stop, value.step))}
    if isinstance(value, complex):
        return {"c": [complex(value).real, complex(value).imag]}
    if type(value) is Decimal:
        return {"n": str(value)}
    if type(value) is Fraction:
        return {"f": items((value.numerator, value.denominator))}
    if str(type(value).__module__).partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return encode(value.tolist(), keep)
    if isinstance(value, numbers.Integral):
        return encode(int(value), keep)
    return {"o": keep(value)}


_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "i": lambda text: int(text, 16),
    "b": bytes.fromhex,
    "a": bytearray.fromhex,
    "n": Decimal,
}
_FROM_PARTS: dict[str, Callable[[list[Any]], Any]] = {
    "t": tuple,
    "d": dict,
    "s": set,
    "z": frozenset,
    "q": collections.deque,
    "r": lambda parts: range(*parts),
    "c": lambda parts: complex(*parts),
    "f": lambda parts: Fraction(*parts),
}


def decode(data: Any, find: Callable[[Any], Any]) -> Any:
    """The value that was encoded; `find` turns what `keep` gave into an object.

    Raises:
        ValueError, TypeError: this is no encoded value.
    """
    if isinstance(data, list):
        return [decode(item, find) for item in data]
    if not isinstance(data, dict):
        return data
    ((tag, content),) = data.items()
    if tag == "o":
        return find(content)
    if tag in _FROM_TEXT:
        return _FROM_TEXT[tag](content)
    if tag not in _FROM_PARTS:
        raise ValueError(f"no value is written {tag!r}")
    return _FROM_PARTS[tag]([decode(item, find) for item in content])


def send(descriptor: int, message: Any) -> None:
    """Write one message.

    Raises:
        Gone: nobody reads.
        ValueError: it is longer than `LARGEST`.
    """
    data = json.dumps(message).encode()
    if len(data) > LARGEST:
        raise ValueError(f"a value of {len(data)} bytes is too large to be compared")
    view = memoryview(struct.pack("<I", len(data)) + data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        raise Gone from error


def receive(descriptor: int) -> Any:
    """Read one message.

    Raises:
        Gone: the other side has ended, or wrote what is no message.
    """
    (length,) = struct.unpack("<I", _read(descriptor, 4))
    if length > LARGEST:
        raise Gone
    try:
        return json.loads(_read(descriptor, length))
    except (ValueError, RecursionError) as error:
        raise Gone from error


def _read(descriptor: int, length: int) -> bytes:
    parts = []
    while length:
        try:
            part = os.read(descriptor, min(length, 2**20))
        except OSError as error:
            raise Gone from error
        if not part:
            raise Gone
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
