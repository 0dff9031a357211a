"""Lines of verification cases: read as they come, numbered, and handed on some at a time."""

from __future__ import annotations

import gzip
import json
import os
import select
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from aftertrain.core.errors import DataError

STANDARD = "-"
"""Standard input or output."""
CHARACTERS = 4_000_000
"""Bytes of lines after which no more are read before they are judged."""
PAUSE = 0.02
"""Seconds without input after which what has been read is judged."""


def read_lines(source: str) -> Iterator[bytes | None]:
    """Lines of a file or of standard input; None where no more come for now.

    Raises:
        DataError: the file cannot be read.
    """
    if source == STANDARD:
        try:
            descriptor = sys.stdin.fileno()
        except OSError:  # no stream of the system's, as where a program has put its own in place
            yield from sys.stdin.buffer
        else:
            yield from as_they_come(descriptor)
        return
    try:
        with gzip.open(source) if source.endswith(".gz") else open(source, "rb") as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{source}: cannot be read: {error}") from error


def as_they_come(descriptor: int) -> Iterator[bytes | None]:
    """Lines of a stream; None as often as it has no more for now, so that nobody waits for what is known."""
    begun: list[bytes] = []
    while part := os.read(descriptor, 2**16):
        first, *others = part.split(b"\n")
        begun.append(first)
        if others:
            yield b"".join(begun)
            yield from others[:-1]
            begun = [others[-1]]
        if not select.select([descriptor], [], [], PAUSE)[0]:
            yield None
    if rest := b"".join(begun):
        yield rest


def chunks_of(lines: Iterable[bytes | None], most: int) -> Iterator[list[tuple[int, bytes]]]:
    """Numbered lines, at most so many at a time and few enough to hold in memory; fewer where the input pauses."""
    chunk: list[tuple[int, bytes]] = []
    size = number = 0
    for line in lines:
        if line is not None:
            number += 1
            chunk.append((number, line))
            size += len(line)
        if chunk and (line is None or len(chunk) == most or size >= CHARACTERS):
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def read_row(line: bytes, number: int) -> dict[str, Any]:
    """What is on an input line.

    Raises:
        ValueError: it is not UTF-8 or not a JSON object.
    """
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8").strip())
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"a JSON object is needed, found {type(row).__name__}")
    return row
