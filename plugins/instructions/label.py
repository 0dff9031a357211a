"""Labels that list instructions: `[{"instruction_id": ..., "kwargs": ...}, ...]`, as open-instruct writes them now.

An entry names one instruction, or several with a list of arguments; a label is such a list, its JSON, or its text in
Python's own notation, in which open-instruct keeps it. An entry may be a JSON text itself.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from aftertrain.plugins.instructions.ifeval.arguments import Unusable

FORM = '[{"instruction_id": id, "kwargs": {argument: value, ...}}, ...]'
LONGEST = 1_000_000
"""Characters of a label in Python's notation, which is read by the compiler's parser."""
_ALONE = re.compile(r"\s*\{.{0,200}?[\"']instruction_id[\"']\s*:", re.DOTALL)
_KEYS = {"instruction_id", "kwargs"}


def is_list(truth: object) -> bool:
    """Whether a ground truth is a label that lists instructions, or means to be one; an entry alone lists itself."""
    if isinstance(truth, str):
        return truth.lstrip().startswith("[") or _ALONE.match(truth) is not None
    return isinstance(truth, list | tuple) or (isinstance(truth, Mapping) and "instruction_id" in truth)


def listed(truth: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Ids and arguments of a label, in its order.

    >>> listed("[{'instruction_id': ['punctuation:no_comma'], 'kwargs': [None]}]")
    [('punctuation:no_comma', {})]

    Raises:
        Unusable: it has not the form; the message names what is wrong.
    """
    entries = _read(truth) if isinstance(truth, str) else truth
    entries = [entries] if isinstance(entries, Mapping) else entries
    if not isinstance(entries, list | tuple) or not entries:
        raise Unusable(f"the ground truth must be {FORM}, not {type(entries).__name__ if entries else 'an empty list'}")
    found: list[tuple[str, Mapping[str, Any]]] = []
    for number, entry in enumerate(entries, 1):
        found += _entry(_read(entry) if isinstance(entry, str) else entry, f"entry {number} of the ground truth")
    return found


def _entry(entry: Any, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(entry, Mapping) or "instruction_id" not in entry:
        raise Unusable(f"{where} must be a mapping with instruction_id; the ground truth must be {FORM}")
    if odd := [key for key in entry if key not in _KEYS]:
        raise Unusable(f"{where} has a field {odd[0]!r}; the ground truth must be {FORM}")
    names, arguments = entry["instruction_id"], entry.get("kwargs")
    if isinstance(names, str):
        alone = isinstance(arguments, list | tuple) and len(arguments) == 1
        names, arguments = [names], arguments if alone else [arguments]
    if not isinstance(names, list | tuple) or not names:
        raise Unusable(f"{where}: instruction_id must be an id or a list of ids, at least one")
    if arguments is None:
        arguments = [None] * len(names)
    if not isinstance(arguments, list | tuple) or len(arguments) != len(names):
        count = len(arguments) if isinstance(arguments, Sequence) else 1
        raise Unusable(f"{where}: {len(names)} in instruction_id, but {count} in kwargs")
    for name, given in zip(names, arguments, strict=True):
        if not isinstance(given, Mapping | None):
            raise Unusable(f"{where}: kwargs of {name} must be a mapping, not {type(given).__name__}")
    return [(str(name), given or {}) for name, given in zip(names, arguments, strict=True)]


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        if len(text) > LONGEST:
            raise Unusable(
                f"the ground truth is no JSON ({problem!s:.80}), and too long for Python's notation"
            ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of escapes that are none: the text is taken as it stands
            warnings.simplefilter("ignore", DeprecationWarning)
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as problem:
        reason = f"{type(problem).__name__}: {problem!s:.60}"
        raise Unusable(f"the ground truth is neither JSON nor Python's list ({reason}); it must be {FORM}") from None
