"""Reading a ground truth: which instructions a reply must follow, with which arguments."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aftertrain.core.errors import unknown
from aftertrain.plugins.instructions.ifbench import count, custom, format, ood, ratio, repeat, sentence, words
from aftertrain.plugins.instructions.ifbench.kind import Kind

KINDS: dict[str, Kind] = {
    id: kind
    for family in (count, custom, format, ood, ratio, repeat, sentence, words)
    for id, kind in family.KINDS.items()
}
KEYS = ("instruction_id_list", "kwargs")
BESIDE = ("key", "prompt")
"""Further keys of IFBench's own rows, which are not looked at."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a case: its id, its kind, and the arguments as the kind's check wants them."""

    id: str
    kind: Kind
    arguments: dict[str, Any]

    def followed(self, text: str) -> bool:
        """Whether the text follows it. A blank text follows nothing."""
        return bool(text.strip()) and self.kind.check(text, **self.arguments)


def instructions(truth: object) -> list[Instruction]:
    """The instructions that a ground truth names.

    Raises:
        ValueError: the ground truth has not the form `{"instruction_id_list": [...], "kwargs": [{...}]}` (or that as
            JSON), or an id or argument is unknown, missing or of the wrong type; the message names it.
    """
    if isinstance(truth, str):
        try:
            truth = json.loads(truth)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the ground truth is a text that is not JSON: {error}") from error
    if not isinstance(truth, Mapping):
        raise ValueError(f"the ground truth must be a mapping with {' and '.join(KEYS)}, not {type(truth).__name__}")
    for key in truth:
        if key not in KEYS and key not in BESIDE:
            raise ValueError("in the ground truth: " + unknown("key", str(key), KEYS))
    ids, arguments = (_list(truth, key) for key in KEYS)
    if not ids:
        raise ValueError("instruction_id_list is empty: there is nothing to check")
    if len(ids) != len(arguments):
        raise ValueError(f"instruction_id_list names {len(ids)} instructions, kwargs has {len(arguments)}")
    return [instruction(id, given) for id, given in zip(ids, arguments, strict=True)]


def _list(truth: Mapping[Any, Any], key: str) -> Sequence[object]:
    value = truth.get(key)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{key} must be a list, not {type(value).__name__}")
    return value


def instruction(id: object, given: object) -> Instruction:
    """One instruction.

    Raises:
        ValueError: see `instructions`.
    """
    kind = KINDS.get(id) if isinstance(id, str) else None
    if kind is None:
        raise ValueError(unknown("instruction", str(id), KINDS))
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"the kwargs of {id} must be a mapping, not {type(given).__name__}")
    values = {str(name): value for name, value in (given or {}).items() if value is not None}
    for name in values:
        if name not in kind.arguments:
            raise ValueError(f"{id}: " + unknown("argument", name, kind.arguments))
    arguments = {}
    for name, read in kind.arguments.items():
        if name not in values:
            raise ValueError(f"{id} needs the argument {name!r}")
        try:
            arguments[name] = read(values[name])
        except ValueError as wanted:
            raise ValueError(f"{id}: {name} must be {wanted}, not {reprlib.repr(values[name])}") from wanted
    return Instruction(str(id), kind, arguments)
