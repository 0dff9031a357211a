"""Instructions as data sets write them: names and arguments, checked before a reply is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aftertrain.core.errors import nearest, unknown
from aftertrain.plugins.instructions.ifeval.reply import Reply

Check = Callable[[Reply], bool]


class Unusable(Exception):
    """A ground truth that is no instruction; the message names the part that is wrong."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of instruction.

    Attributes:
        make: makes the check from the arguments, given by name.
        arguments: for each argument, what reads its value; raises `Unusable` when it cannot.
    """

    make: Callable[..., Check]
    arguments: Mapping[str, Callable[[Any], Any]]


def make(kinds: Mapping[str, Kind], name: Any, given: Mapping[str, Any]) -> Check:
    """The check of one instruction.

    Raises:
        Unusable: no such kind, an argument that is missing, unknown, or of the wrong type.
    """
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise Unusable(unknown("instruction", str(name), kinds))
    for argument in given:
        if argument not in kind.arguments:
            takes = f"it takes {', '.join(kind.arguments)}" if kind.arguments else "it takes none"
            guess = nearest(str(argument), kind.arguments)
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise Unusable(f"{name} has no argument {argument!r}: {takes}{hint}")
    missing = [argument for argument in kind.arguments if argument not in given]
    if missing:
        raise Unusable(f"{name} lacks {', '.join(missing)}")
    values = {}
    for argument, value in given.items():
        try:
            values[argument] = kind.arguments[argument](value)
        except Unusable as problem:
            raise Unusable(f"{name}: {argument} {problem}") from None
    try:
        return kind.make(**values)
    except Unusable as problem:
        raise Unusable(f"{name}: {problem}") from None


def number(value: Any) -> int:
    """A whole number from 0."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or value < 0:
        raise Unusable(f"must be a whole number from 0, not {_shown(value)}")
    return int(value)


def text(value: Any) -> str:
    """A text; an empty one would hold for every reply."""
    if not isinstance(value, str) or not value:
        raise Unusable(f"must be a text that is not empty, not {_shown(value)}")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts, at least one."""
    if not isinstance(value, list | tuple) or not value:
        raise Unusable(f"must be a list of texts, not {_shown(value)}")
    return tuple(text(one) for one in value)


def one_of(*options: str) -> Callable[[Any], str]:
    """One of a few words."""

    def read(value: Any) -> str:
        if value not in options:
            raise Unusable(f"must be one of {', '.join(map(repr, options))}, not {_shown(value)}")
        return str(value)

    return read


def _shown(value: Any) -> str:
    return f"{value!r:.80}"
