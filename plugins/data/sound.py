"""Rows that certainly make a record, seen without making it: most of any data set, at a fraction of the work.

Whoever is in doubt says no, and makes the record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aftertrain.core.records import Role
from aftertrain.plugins.data.formats import RATINGS
from aftertrain.plugins.data.settings import TableSettings
from aftertrain.plugins.data.tools import NOTHING, TOOLS
from aftertrain.plugins.data.turns import ROLES

Values = Mapping[str, Any]
LARGEST = 2**53
"""A number below it is finite as a float, whichever way it was written."""


def sound_rows(settings: TableSettings) -> Callable[[Values], bool]:
    """Whether a row whose texts and depth are known to be good makes a record of the settings' format."""
    columns = settings.columns
    checks: dict[str, Callable[[Values], bool]] = {
        "messages": lambda values: "assistant" in _roles(values.get(columns["messages"])),
        "preference": lambda values: not settings.transcripts and _pair(values, columns),
        "text": lambda values: _texts(values, columns),
        "prompt_response": lambda values: _texts(values, columns),
        "gsm8k": lambda values: settings.as_ != "problem" and _texts(values, columns),
    }
    check = checks.get(settings.format)
    if check is None:
        return lambda values: False
    return lambda values: check(values) and _without_tools(values)


def _roles(turns: Any) -> list[Role]:
    """The roles of turns that are a role and a text alone; none where one of them is not."""
    roles: list[Role] = []
    if type(turns) is not list:
        return roles
    for turn in turns:
        if type(turn) is not dict or len(turn) != 2:
            return []
        role = turn.get("role") or turn.get("from")
        if type(role) is not str or role not in ROLES or type(turn.get("content") or turn.get("value")) is not str:
            return []
        roles.append(ROLES[role])
    return roles


def _pair(values: Values, columns: Mapping[str, str]) -> bool:
    """Two conversations that part at their last turn, both with the row's prompt in them where it has one."""
    prompt = values.get(columns["prompt"])
    chosen: Any = values.get(columns["chosen"])
    rejected: Any = values.get(columns["rejected"])
    roles, others = _roles(chosen), _roles(rejected)
    if len(roles) < 2 or roles != others or roles[-1] != "assistant" or chosen[:-1] != rejected[:-1]:
        return False
    if prompt is not None:
        first = chosen[0].get("content") or chosen[0].get("value")
        if type(prompt) is not str or roles[0] != "user" or first.strip() != prompt.strip():
            return False
    rated = (values.get(name) for name in ("margin", *RATINGS[0], *RATINGS[1]))
    return all(number is None or (type(number) in (int, float) and abs(number) < LARGEST) for number in rated)


def _texts(values: Values, columns: Mapping[str, str]) -> bool:
    return all(type(values.get(column)) is str for column in columns.values())


def _without_tools(values: Values) -> bool:
    return all(name not in values or values[name] in NOTHING for name in TOOLS)
