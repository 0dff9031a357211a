"""A row as it was read, and what is said of one that makes no record."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from aftertrain.core.errors import DataError

SHOWN = 60
"""Characters of a value that a message shows."""
TRUTHS = {"true": True, "false": False, "1": True, "0": False}
"""How truth values are written where all values are texts, in small letters."""
LONGEST = 4 * 2**20
"""Bytes of a row as JSON, or characters: some million tokens, for which a tokenizer takes seconds and a gibibyte."""
TOO_LONG = (
    "too_large",
    f"more than {LONGEST // 2**20} MiB in one row; divide its text among several rows, or take the row out",
)
"""Reason and message of a row that is longer."""
SHALLOW = 200
"""Brackets of a row that cannot be nested too deeply to be looked at."""
TOO_DEEP = "not JSON that can be read: too many brackets within one another"


class RowFault(DataError):
    """A row that makes no record.

    Attributes:
        reason: one word for counts.
        message: what is wrong with it, without where it stands.
    """

    def __init__(self, where: str, reason: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where, self.reason, self.message = where, reason, message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.where, self.reason, self.message)


@dataclass(slots=True)
class Row:
    """One row and where it stands (`file:line`). Not frozen, which would take longer to make than to read the row.

    Attributes:
        broken: reason and message of a line that holds no row; `values` then only tell such lines apart.
        columnar: it comes from a table of typed columns, where what is missing in an object is null.
        textual: all its values are texts, so that a number or a truth value is written as one; empty is nothing.
        plain: how it was read shows that UTF-8 can hold its texts and that they are not nested deeply.
        origin: source and licence of its record, where they are not the data set's own.
    """

    where: str
    values: Mapping[str, Any]
    broken: tuple[str, str] | None = None
    columnar: bool = False
    textual: bool = False
    plain: bool = False
    origin: tuple[str, str | None] | None = None

    def fail(self, field: str, expected: str, found: object, *, reason: str = "") -> NoReturn:
        """Raise a `RowFault` about one field; by default its reason is `missing_value` or `wrong_value`."""
        reason = reason or ("missing_value" if found is None else "wrong_value")
        has = "" if "[" in field or field in self.values else f"; {self.columns}"
        self.refuse(reason, f"field {field!r}: expected {expected}, found {described(found)}{has}")

    def refuse(self, reason: str, message: str) -> NoReturn:
        """Raise a `RowFault`."""
        raise RowFault(self.where, reason, message)

    def text(self, field: str) -> str:
        """A field that must be a text."""
        value = self.values.get(field)
        return value if isinstance(value, str) else self.fail(field, "a text", value)

    def has(self, field: str) -> bool:
        """Whether the field holds anything."""
        value = self.values.get(field)
        return value is not None and not (self.textual and value == "")

    def number(self, field: str) -> float | None:
        """A field that must be a finite number where the row has it; None where it has not."""
        if not self.has(field):
            return None
        value = self.values[field]
        if isinstance(value, bool) or not isinstance(value, int | float | str if self.textual else int | float):
            self.fail(field, "a number", value)
        try:
            # `float` takes 1_000 for a thousand, which is Python's notation alone.
            number = math.nan if isinstance(value, str) and "_" in value else float(value)
        except (ValueError, OverflowError):
            number = math.nan
        return number if math.isfinite(number) else self.fail(field, "a number", value)

    def truth(self, field: str, expected: str) -> bool:
        """A field that must be true or false, or 1 or 0."""
        value = self.values.get(field)
        if self.textual and isinstance(value, str):
            value = TRUTHS.get(value.strip().lower(), value)
        return bool(value) if isinstance(value, bool) or value in (0, 1) else self.fail(field, expected, value)

    def check_unicode(self, field: str, value: object) -> None:
        """See that the texts within a value can be written as UTF-8; of the row as a whole where the field is "".

        Half of a surrogate pair cannot, though JSON may hold one as an escape; no tokenizer takes it.

        Raises:
            RowFault: one of them cannot (`not_unicode`), they are nested too deeply to be looked at (`not_json`), or
                they are too long (`too_large`).
        """
        if self.plain and not field:
            return
        try:
            written = json.dumps(value, ensure_ascii=False, default=str).encode()
        except RecursionError:
            self.refuse("not_json", TOO_DEEP)
        except UnicodeEncodeError as error:
            self.refuse(
                "not_unicode",
                f"field {_unencodable(field, value)!r}: expected Unicode text, found half of a surrogate pair "
                f"(\\u{ord(error.object[error.start]):04x}); write the character whole, take it out, or put \\ufffd in "
                "its place",
            )
        if len(written) > LONGEST:
            self.refuse(*TOO_LONG)

    @property
    def columns(self) -> str:
        """The names of its columns, as part of a sentence."""
        names = list(self.values)
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        return f"the row has: {', '.join(names[:20])}{more}" if names else "the row has no columns"


def described(value: object) -> str:
    """A value in words of JSON.

    >>> described("4.5"), described(None), described(float("nan")), described([])
    ("the text '4.5'", 'null or nothing', 'the number NaN', 'an empty list')
    """
    if value is None:
        return "null or nothing"
    if isinstance(value, str):
        return f"the text {value[:SHOWN]!r}" if value else "an empty text"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        written = json.dumps(value)
        return f"the number {written if len(written) <= SHOWN else f'{written[:SHOWN]}…'}"
    if isinstance(value, list | dict):
        noun = "list" if isinstance(value, list) else "object"
        written = json.dumps(value, default=str, ensure_ascii=False)
        short = encodable(written if len(written) <= SHOWN else f"{written[:SHOWN]}…")
        return f"a{'n' if noun == 'object' else ''} {noun} {short}" if value else f"an empty {noun}"
    return f"{type(value).__name__} {str(value)[:SHOWN]!r}"


def encodable(text: str) -> str:
    """The text with escapes for what UTF-8 cannot hold, so that any message can be printed and kept.

    >>> encodable("\\ud83d!")
    '\\\\ud83d!'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _unencodable(field: str, value: object) -> str:
    """The place of the first text within a value that UTF-8 cannot hold, names in objects included."""
    # What is left is a list, as values may be nested more deeply than calls.
    left = [(field, value)]
    while left:
        place, value = left.pop()
        if isinstance(value, str) and encodable(value) != value:
            return place
        if isinstance(value, Mapping):
            for name, held in reversed(list(value.items())):
                inner = f"{place}.{name}" if place else name
                left += [(inner, held), (inner, name)]
        elif isinstance(value, list | tuple):
            left += [(f"{place}[{i}]", value[i]) for i in reversed(range(len(value)))]
    return field
