"""Bounds of what is read as a recipe: a few kilobytes of settings, never a bomb.

Aliases that double at each level, endless brackets, numbers of thousands of digits and files of megabytes are refused
with their place, before anything of their size is built.
"""

from __future__ import annotations

import math
from typing import Any

from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError

SIZE = 128 << 10
"""Bytes of a recipe, and of one override."""
DEPTH = 64
"""Mappings and lists inside one another."""
NODES = 10_000
"""Values in a file, as written."""
EXPANDED = 20_000
"""Values with aliases written out."""
DIGITS = 24
"""Of a whole number, with what tells its base: what has more has more than 64 bits, and no setting a meaning for it."""


class BoundedComposer(Composer):
    """ruamel's composer, which stops where the text has more values or levels than any recipe."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._level = self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node and all below it.

        Raises:
            ComposerError: there are too many, or too many inside one another.
        """
        self._nodes += 1
        if self._level >= DEPTH:
            self._refuse(f"more than {DEPTH} mappings and lists inside one another")
        if self._nodes > NODES:
            self._refuse(f"more than {NODES:,} values; a recipe has dozens")
        self._level += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._level -= 1

    def _refuse(self, problem: str) -> None:
        mark = self.parser.peek_event().start_mark
        error: MarkedYAMLError = ComposerError(None, None, problem, mark)
        raise error


def whole(text: str) -> int:
    """A whole number as YAML 1.2 writes it.

    Raises:
        ValueError: it has more than 64 bits.
    """
    digits = text.lstrip("+-")
    base = {"0o": 8, "0x": 16}.get(digits[:2], 10)
    if len(digits.lstrip("0")) > DIGITS or not -(1 << 63) <= (number := int(text, base)) < 1 << 64:
        raise ValueError(f"a whole number of {len(digits):,} digits; settings have at most 64 bits")
    return number


def decimal(text: str) -> float:
    """A number with a point or an exponent.

    Raises:
        ValueError: it is larger than any that a setting can have.
    """
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number beyond 1.8e308; write .inf where infinity is meant")
    return number


def check_text(text: str) -> None:
    """Refuse a text that no file name, tokenizer or record can hold.

    Raises:
        ValueError: it has a NUL character, or half of a surrogate pair, which UTF-8 has no bytes for.
    """
    if "\0" in text:
        raise ValueError("a text with a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise ValueError(f"a text with U+{code:04X}, half of a surrogate pair, which UTF-8 cannot hold") from error
