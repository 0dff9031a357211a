"""Ground truths that name instructions with their arguments: two columns, or a label that lists them.

IFEval and IFBench have the columns `instruction_id_list` and `kwargs`. Open-instruct now writes labels,
`[{"instruction_id": ..., "kwargs": ...}, ...]`: an entry names one instruction, or several with a list of arguments; a
label is such a list, its JSON, or its text in Python's own notation, in which open-instruct keeps it. An entry may be a
JSON text itself.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from aftertrain.core.errors import unknown
from aftertrain.plugins.instructions.kind import Unusable

Named = list[tuple[str, Mapping[str, Any]]]
"""Ids of instructions with their arguments."""
COLUMNS = ("instruction_id_list", "kwargs")
BESIDE = ("key", "prompt")
"""Further columns of the data sets' rows, which are not looked at."""

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


def mapping(truth: Any, form: str) -> Mapping[Any, Any]:
    """A ground truth that is a mapping, or its JSON.

    Args:
        form: what a ground truth must be, for the message.

    Raises:
        Unusable: it is none.
    """
    if isinstance(truth, str):
        try:
            truth = json.loads(truth)
        except (ValueError, RecursionError) as problem:
            raise Unusable(f"the ground truth is no JSON ({problem!s:.80}); it must be {form}") from None
    if not isinstance(truth, Mapping):
        raise Unusable(f"the ground truth must be {form}, not {type(truth).__name__}")
    return truth


def columns(truth: Mapping[Any, Any], form: str) -> Named:
    """Ids and arguments of the two columns, in their order.

    Raises:
        Unusable: they are not as they should be; the message names what is wrong.
    """
    for column in truth:
        if column not in (*COLUMNS, *BESIDE):
            raise Unusable(f"in the ground truth: {unknown('key', str(column), COLUMNS)} It must be {form}")
    for column in COLUMNS:
        if not isinstance(truth.get(column), list | tuple):
            kind = type(truth.get(column)).__name__
            raise Unusable(f"{column} must be a list, not {kind}; the ground truth must be {form}")
    ids, arguments = (truth[column] for column in COLUMNS)
    if not ids:
        raise Unusable("instruction_id_list is empty: every reply would follow it")
    return _paired(ids, arguments, "instruction_id_list")


def listed(truth: Any) -> Named:
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
    named: Named = []
    for number, entry in enumerate(entries, 1):
        named += _entry(_read(entry) if isinstance(entry, str) else entry, f"entry {number} of the ground truth")
    return named


def _entry(entry: Any, where: str) -> Named:
    if not isinstance(entry, Mapping) or "instruction_id" not in entry:
        raise Unusable(f"{where} must be a mapping with instruction_id; the ground truth must be {FORM}")
    if odd := [key for key in entry if key not in _KEYS]:
        raise Unusable(f"{where} has a field {odd[0]!r}; the ground truth must be {FORM}")
    ids, arguments = entry["instruction_id"], entry.get("kwargs")
    if isinstance(ids, str):
        alone = isinstance(arguments, list | tuple) and len(arguments) == 1
        ids, arguments = [ids], arguments if alone else [arguments]
    if not isinstance(ids, list | tuple) or not ids:
        raise Unusable(f"{where}: instruction_id must be an id or a list of ids, at least one")
    if arguments is None:
        arguments = [None] * len(ids)
    if not isinstance(arguments, list | tuple):
        raise Unusable(f"{where}: kwargs must be a list, as instruction_id is, not {type(arguments).__name__}")
    return _paired(ids, arguments, "instruction_id", f"{where}: ")


def _paired(ids: Sequence[Any], arguments: Sequence[Any], column: str, where: str = "") -> Named:
    if len(ids) != len(arguments):
        raise Unusable(f"{where}{len(ids)} in {column}, but {len(arguments)} in kwargs")
    for name, given in zip(ids, arguments, strict=True):
        if not isinstance(given, Mapping | None):
            raise Unusable(f"{where}kwargs of {name} must be a mapping, not {type(given).__name__}")
    return [(str(name), given or {}) for name, given in zip(ids, arguments, strict=True)]


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
