"""Layouts of columns: what a converter was written for, what a row has, and both side by side where they differ.

A layout is `text`, `number`, `bool`, `[layout]` for a list, or a mapping of names to layouts. A `?` behind a word says
that the value may be missing. A row may have more columns than its layout names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aftertrain.core.errors import nearest

WORDS = ("text", "number", "bool")
MOST = 20
"""Columns of a row that a message shows."""


def checked_layout(layout: Any) -> Any:
    """The layout.

    Raises:
        ValueError: it is none.
    """
    if isinstance(layout, dict) and layout:
        for inner in layout.values():
            checked_layout(inner)
    elif isinstance(layout, list) and len(layout) == 1:
        checked_layout(layout[0])
    elif not (isinstance(layout, str) and layout.removesuffix("?") in WORDS):
        raise ValueError(f"no layout: {layout!r}; one is {', '.join(WORDS)}, a list of one, or a mapping")
    return layout


def written(layout: Any) -> str:
    """A layout on one line.

    >>> written({"messages": [{"role": "text"}], "parent": "text?"})
    'messages: list of {role: text}, parent: text or nothing'
    """
    if isinstance(layout, Mapping):
        return ", ".join(f"{name}: {_inner(inner)}" for name, inner in layout.items())
    return _inner(layout)


def _inner(layout: Any) -> str:
    if isinstance(layout, Mapping):
        return f"{{{written(layout)}}}"
    if isinstance(layout, list):
        return f"list of {_inner(layout[0])}" if layout else "empty list"
    return f"{layout.removesuffix('?')} or nothing" if layout.endswith("?") else str(layout)


def layout_of(value: Any) -> Any:
    """The layout that a value shows; of a list, that of its first."""
    if isinstance(value, Mapping):
        return {str(name): layout_of(held) for name, held in value.items()}
    if isinstance(value, list):
        return [layout_of(value[0])] if value else []
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "nothing" if value is None else type(value).__name__


def differences(expected: Any, value: Any, place: str = "") -> Iterator[str]:
    """What of a value is not as a layout says, a clause each. Nothing is said of what is null: rows may lack values."""
    if value is None:
        return
    if isinstance(expected, Mapping):
        if not isinstance(value, Mapping):
            yield f"{place} is {_inner(layout_of(value))}"
            return
        for name, inner in expected.items():
            here = f"{place}.{name}" if place else name
            if name in value:
                yield from differences(inner, value[name], here)
            elif not (isinstance(inner, str) and inner.endswith("?")):
                guess = nearest(name, [str(other) for other in value if other not in expected])
                yield f"{here} is missing" + (f" (there is {guess})" if guess else "")
    elif isinstance(expected, list):
        if not isinstance(value, list):
            yield f"{place} is {_inner(layout_of(value))}"
        elif value:
            yield from differences(expected[0], value[0], f"{place}[0]")
    elif layout_of(value) != expected.removesuffix("?"):
        yield f"{place} is {_inner(layout_of(value))}"


def both_layouts(expected: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """The layout that was expected, the one that was found, and how they differ."""
    shown = layout_of(dict(list(row.items())[:MOST]))
    more = f" and {len(row) - MOST} more" if len(row) > MOST else ""
    return (
        f"  expected: {written(expected)}\n  found:    {written(shown) or 'no columns'}{more}\n"
        f"  so: {'; '.join(differences(expected, row))}"
    )
