"""Settings, packages and machines as text: nested data written the way a recipe is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aftertrain.core.ground.cleaning import visible

_GIB = 1024**3


def outline(value: Any) -> str:
    """Nested data as indented lines: `key: value`, lists with dashes, short ones on one line.

    >>> print(outline({"loss": {"use": "sft"}, "betas": [0.9, 0.95]}))
    loss:
      use: sft
    betas: [0.9, 0.95]
    """
    return "\n".join(_lines(value, ""))


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested data as (dotted path, text)."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from flat(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, _memory(path, value) if isinstance(value, int | float) else _scalar(value)


def _memory(path: str, value: float) -> str:
    if path.rpartition(".")[2].startswith("memory") and value > _GIB / 16:
        return f"{value / _GIB:.1f} GiB"
    return _scalar(value)


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, dict | list) and item and not _short(item):
                yield f"{indent}{visible(str(key))}:"
                yield from _lines(item, indent + "  ")
            else:
                yield f"{indent}{visible(str(key))}: {_scalar(item)}"
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list) and item and not _short(item):
                first, *rest = _lines(item, indent + "  ")
                yield f"{indent}- {first.strip()}"
                yield from rest
            else:
                yield f"{indent}- {_scalar(item)}"
    else:
        yield indent + _scalar(value)


def _short(value: Any) -> bool:
    return isinstance(value, list) and all(not isinstance(item, dict | list) for item in value) and len(str(value)) < 80


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return visible(value) if value and value.strip() == value and "\n" not in value else json.dumps(visible(value))
    if isinstance(value, list):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False, default=str)
