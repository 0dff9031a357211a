"""Kinds of instructions, and their arguments as data sets write them, checked before a reply is judged."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aftertrain.core.errors import unknown
from aftertrain.plugins.instructions.reply import Reply

Check = Callable[[Reply], bool]
Reader = Callable[[Any], Any]
"""Gives an argument as the check wants it; raises `Unusable` with what it must be."""
Need = Literal["punkt", "stopwords", "langdetect", "syllapy", "emoji", "tagger"]
"""tagger: NLTK's English tagger; the others as in `resources`."""


class Unusable(Exception):
    """A ground truth that is no instruction; the message names the part that is wrong."""


class Lacking(Unusable):
    """An instruction that is sound and cannot be checked on this machine; the message says what installs the need."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of instruction.

    Attributes:
        make: makes the check from the arguments, given by name.
        arguments: a reader for each argument; all of them must be given.
        needs: data and packages that not every machine has.
    """

    make: Callable[..., Check]
    arguments: Mapping[str, Reader] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a case, ready to check.

    Attributes:
        name: its id (IFEval, IFBench) or function name (Tulu 3).
        check: whether a reading of a reply follows it.
        of_answer: what follows the thinking is checked, as Tulu 3 does, and not the whole reply.
        blank_fails: a blank text does not follow it, whatever the check says.
    """

    name: str
    check: Check
    of_answer: bool = False
    blank_fails: bool = True


def of_text(
    check: Callable[..., bool], arguments: Mapping[str, Reader] | None = None, needs: tuple[Need, ...] = ()
) -> Kind:
    """The kind whose check looks at a text, which is not blank, and takes the arguments by name."""
    return Kind(lambda **values: lambda reply: check(reply.text, **values), arguments or {}, needs)


def make(kinds: Mapping[str, Kind], name: str, given: Mapping[str, Any]) -> Check:
    """The check of one instruction.

    Raises:
        Unusable: no such kind, an argument that is missing, unknown, or of the wrong type.
    """
    if name not in kinds:
        raise Unusable(unknown("instruction", name, kinds))
    readers = kinds[name].arguments
    for argument in given:
        if argument not in readers:
            raise Unusable(f"{name}: {unknown('argument', str(argument), readers)}")
    if missing := [argument for argument in readers if argument not in given]:
        raise Unusable(f"{name} lacks {', '.join(missing)}")
    values = {}
    for argument, value in given.items():
        try:
            values[argument] = readers[argument](value)
        except Unusable as wanted:
            raise Unusable(f"{name}: {argument} must be {wanted}, not {reprlib.repr(value)}") from None
    try:
        return kinds[name].make(**values)
    except Unusable as problem:
        raise Unusable(f"{name}: {problem}") from None


def number(value: Any) -> float:
    """A finite number from 0 on. IFBench writes counts as floats and puts a random number for a negative one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise Unusable("a number from 0 on")
    return value


def whole(value: Any) -> int:
    """A whole number from 0 on, `3` or `3.0`."""
    if value != int(number(value)):
        raise Unusable("a whole number from 0 on")
    return int(value)


def position(value: Any) -> int:
    """A whole number from 1 on, `3` or `3.0`."""
    if number(value) < 1 or value != int(value):
        raise Unusable("a whole number from 1 on")
    return int(value)


def text(value: Any) -> str:
    """A text that is not empty, as it is."""
    if not isinstance(value, str) or not value:
        raise Unusable("a text that is not empty")
    return value


def keyword(value: Any) -> str:
    """A text that is not blank, without the white space around it."""
    if not text(value).strip():
        raise Unusable("a text that is not blank")
    return str(value).strip()


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts, at least one."""
    if not isinstance(value, list | tuple) or not value or not all(isinstance(entry, str) and entry for entry in value):
        raise Unusable("a list of texts that are not empty")
    return tuple(value)


def one_of(*options: str) -> Reader:
    """One of a few words."""

    def read(value: Any) -> str:
        if value not in options:
            raise Unusable(f"one of {', '.join(map(repr, options))}")
        return str(value)

    return read
