"""Rows that lack the columns of their format: which other format or names would fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aftertrain.core.errors import nearest
from aftertrain.plugins.data.row import Row
from aftertrain.plugins.data.settings import FIELDS, TableSettings

OPTIONAL = {"preference": {"prompt"}, "alpaca": {"input"}}
"""Fields of a format that a row may lack."""
ALIASES = {
    "messages": ("conversations", "conversation", "dialogue", "dialog", "chat", "turns"),
    "prompt": ("question", "instruction", "query", "input"),
    "response": ("completion", "answer", "output", "reply"),
    "question": ("prompt", "problem", "query"),
    "answer": ("solution", "response", "completion"),
    "text": ("content", "document", "body", "raw"),
    "chosen": ("chosen_response", "response_chosen", "preferred", "accepted", "winner"),
    "rejected": ("rejected_response", "response_rejected", "dispreferred", "loser"),
    "completion": ("response", "answer", "output", "reply"),
    "label": ("desirable", "thumbs_up", "is_good"),
    "ground_truth": ("answer", "solution", "truth"),
}
"""Other names that columns of these fields go by."""


def check_columns(row: Row, settings: TableSettings) -> None:
    """See that a row has the columns that its format reads.

    Raises:
        RowFault: it has not; lists those that it has and says which settings would read them.
    """
    columns = settings.columns
    optional = OPTIONAL.get(settings.format, set())
    missing = [column for field, column in columns.items() if column not in row.values and field not in optional]
    if missing:
        quoted = ", ".join(map(repr, missing))
        lacks = f"field {quoted} is missing" if len(missing) == 1 else f"fields {quoted} are missing"
        row.refuse("missing_column", f"{lacks}; {row.columns}{_cure(row.values, settings.format, columns)}")


def _cure(values: Mapping[str, Any], own: str, columns: Mapping[str, str]) -> str:
    """The setting that reads these columns, where one can be guessed."""
    for name, fields in sorted(FIELDS.items(), key=lambda item: -len(item[1])):
        needed = fields.keys() - OPTIONAL.get(name, set())
        if name != own and needed <= values.keys() and (name != "gsm8k" or "####" in str(values["answer"])):
            return f". These look like rows of the format {name}: write `format: {name}`"
    if renamed := _renamed(own, columns, values, guess=True):
        return f". Write `fields: {_mapping(renamed)}`"
    for name, fields in FIELDS.items():
        if name != own and (renamed := _renamed(name, fields, values, guess=False)):
            return f". These look like rows of the format {name}: write `format: {name}, fields: {_mapping(renamed)}`"
    return ""


def _renamed(name: str, columns: Mapping[str, str], values: Mapping[str, Any], *, guess: bool) -> dict[str, str]:
    """Columns of a format's fields under other names; nothing where a field that is needed stays without one."""
    renamed: dict[str, str] = {}
    for field, column in columns.items():
        if column in values:
            continue
        free = [other for other in values if other not in {*renamed.values(), *columns.values()}]
        known = next((alias for alias in ALIASES.get(field, ()) if alias in free), None)
        other = known or (nearest(column, free) if guess else None)
        if other is not None:
            renamed[field] = other
        elif field not in OPTIONAL.get(name, set()):
            return {}
    return renamed


def _mapping(renamed: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{field}: {column}" for field, column in renamed.items()) + "}"
