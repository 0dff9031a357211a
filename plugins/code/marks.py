"""What tests written for pytest name, for the process that runs them: its source goes before theirs, in place of the
package. It knows what needs no collection of pytest's: raises, approx, parametrize, fixtures of the module itself.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
import re
from collections.abc import Iterator
from functools import partial
from typing import Any


class Raises:
    """The block raises such an exception, whose text matches."""

    def __init__(self, expected: Any, match: str | None = None) -> None:
        kinds = expected if isinstance(expected, tuple) else (expected,)
        if not all(isinstance(kind, type) for kind in kinds):
            raise TypeError("catching classes that do not inherit from BaseException is not allowed")
        self.expected, self.match = expected, match
        self.value: Any = None
        self.type: Any = None

    def __enter__(self) -> Raises:
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> bool:
        if kind is None:
            raise AssertionError(f"DID NOT RAISE {self.expected}")
        if not issubclass(kind, self.expected):
            return False
        if self.match is not None and not re.search(self.match, str(value)):
            raise AssertionError(f"{str(value)!r} does not match {self.match!r}")
        self.type, self.value = kind, value
        return True


class Approx:
    """Near numbers are equal: within 1e-6 relative or 1e-12; in lists and dicts item by item."""

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None, nan_ok: bool = False) -> None:
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, other: object) -> bool:
        return self._near(other, self.expected)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"approx({self.expected!r})"

    def _near(self, value: Any, expected: Any) -> bool:
        if isinstance(expected, dict):
            same_keys = isinstance(value, dict) and value.keys() == expected.keys()
            return same_keys and all(self._near(value[key], item) for key, item in expected.items())
        if isinstance(expected, list | tuple):
            same_length = isinstance(value, list | tuple) and len(value) == len(expected)
            return same_length and all(map(self._near, value, expected))
        if value == expected:
            return True
        try:
            if math.isnan(expected) or math.isnan(value):
                return self.nan_ok and math.isnan(expected) and math.isnan(value)
            if math.fabs(expected) == float("inf"):
                return False
            absolute = 1e-12 if self.abs is None else self.abs
            absolute_only = self.abs is not None and self.rel is None
            relative = 0.0 if absolute_only else (1e-6 if self.rel is None else self.rel) * math.fabs(expected)
            return bool(math.fabs(value - expected) <= max(absolute, relative))
        except (TypeError, OverflowError):
            return False


class Param:
    """One set of values, with marks or a name."""

    def __init__(self, *values: Any, **_: Any) -> None:
        self.values = values


def mark(kind: str, *arguments: Any, **keywords: Any) -> Any:
    """Mark a test, or give what does; all marks but `parametrize` change nothing."""
    if kind == "parametrize":
        names, values = (*arguments, *keywords.values())[:2]
        return lambda test: marked(test, names, values)
    return arguments[0] if len(arguments) == 1 and callable(arguments[0]) and not keywords else lambda test: test


def marked(test: Any, names: Any, values: Any) -> Any:
    """The test with one more list of values for its arguments."""
    split = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    rows = [row.values if isinstance(row, Param) else row if len(split) > 1 else (row,) for row in values]
    test.sets = [*getattr(test, "sets", []), [dict(zip(split, row, strict=True)) for row in rows]]
    return test


class Marks:
    """`pytest.mark`."""

    def __getattr__(self, name: str) -> Any:
        return partial(mark, name)


def raising(expected: Any, *call: Any, match: str | None = None, **named: Any) -> Any:
    """A block that raises, or a call that does."""
    block = Raises(expected, match)
    if call:
        with block:
            call[0](*call[1:], **named)
    return block


def fixed(function: Any = None, **_: Any) -> Any:
    """A function whose value tests get by its name."""
    return function if function is not None else lambda inner: inner


def failing(reason: str = "") -> None:
    """The test fails."""
    raise AssertionError(reason)


class pytest:
    """The package, as far as tests get it."""

    raises = staticmethod(raising)
    approx = Approx
    param = Param
    fixture = staticmethod(fixed)
    fail = staticmethod(failing)
    mark = Marks()


def run(test: Any, fixtures: dict[str, Any]) -> None:
    """Call a test with every choice of its parametrized values, and with the values of fixtures."""
    for chosen in itertools.product(*getattr(test, "sets", [])):
        arguments = {name: value for values in chosen for name, value in values.items()}
        ends: list[Iterator[Any]] = []
        for name in inspect.signature(test).parameters:
            if name not in arguments:
                arguments[name] = provided(name, fixtures, ends)
        result = test(**arguments)
        if inspect.iscoroutine(result):
            asyncio.run(result)
        for end in reversed(ends):
            next(end, None)


def provided(name: str, fixtures: dict[str, Any], ends: list[Iterator[Any]]) -> Any:
    """The value of a fixture; one that yields is gone on with after the test."""
    function = fixtures[name]
    value = function(**{other: provided(other, fixtures, ends) for other in inspect.signature(function).parameters})
    if inspect.isgenerator(value):
        ends.append(value)
        return next(value)
    return value
