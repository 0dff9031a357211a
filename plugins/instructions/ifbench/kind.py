"""A kind of instruction: how it is checked, which arguments it has, what it needs beside the text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Need = Literal["punkt", "stopwords", "langdetect", "syllapy", "emoji", "tagger"]
"""punkt, stopwords, langdetect: as in `resources`; syllapy, emoji: packages; tagger: NLTK's English tagger."""
Reader = Callable[[object], Any]
"""Gives an argument as the check wants it; raises ValueError with what it must be."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of instruction.

    Attributes:
        check: whether a text follows it; called with the text, which is not blank, and the arguments by name.
        arguments: a reader for each argument; all of them must be given.
        needs: data and packages that `check` uses.
    """

    check: Callable[..., bool]
    arguments: Mapping[str, Reader] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()


def number(value: object) -> float:
    """A finite number from 0 on. IFBench writes counts as floats and puts a random number for a negative one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("a number from 0 on")
    return value


def position(value: object) -> int:
    """A whole number from 1 on, `3` or `3.0`."""
    if number(value) < 1 or value != int(number(value)):
        raise ValueError("a whole number from 1 on")
    return int(number(value))


def index(value: object) -> int:
    """A whole number from 0 on, `3` or `3.0`."""
    if value != int(number(value)):
        raise ValueError("a whole number from 0 on")
    return int(number(value))


def text(value: object) -> str:
    """A text that is not empty, as it is."""
    if not isinstance(value, str) or not value:
        raise ValueError("a text that is not empty")
    return value


def keyword(value: object) -> str:
    """A text that is not blank, without the white space around it."""
    if not text(value).strip():
        raise ValueError("a text that is not blank")
    return text(value).strip()
