"""Tools on offer and calls of them, as OpenAI and transformers write them down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aftertrain.core.records import JSON, ToolCall
from aftertrain.plugins.data.row import Row

NOTHING: tuple[Any, ...] = (None, [], {}, "", "[]", "null")
"""What stands in a field of tools, calls or thoughts where there are none."""
TOOLS = ("tools", "functions")
"""Fields of a row that describe tools; the second is OpenAI's older one."""


def parse_tools(row: Row) -> tuple[JSON, ...]:
    """The JSON schemas of a row's tools, each as `{"type": "function", "function": {name, …}}`; a text holds JSON."""
    for field in TOOLS:
        if row.values.get(field) not in NOTHING:
            listed = _parsed(row, field, row.values[field])
            if not isinstance(listed, list):
                row.fail(field, "a list of tools", listed)
            return tuple(_tool(row, f"{field}[{i}]", tool) for i, tool in enumerate(listed))
    return ()


def parse_calls(row: Row, field: str, turn: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """A turn's `tool_calls`, or its `function_call`, which is OpenAI's older form of a single one."""
    if turn.get("tool_calls") not in NOTHING:
        name, calls = "tool_calls", _parsed(row, f"{field}.tool_calls", turn["tool_calls"])
    elif turn.get("function_call") not in NOTHING:
        name, calls = "function_call", [_parsed(row, f"{field}.function_call", turn["function_call"])]
    else:
        return ()
    if not isinstance(calls, list):
        row.fail(f"{field}.{name}", "a list of calls", calls)
    return tuple(_call(row, f"{field}.{name}[{i}]", call) for i, call in enumerate(calls))


def _tool(row: Row, field: str, tool: Any) -> JSON:
    about = _function(row, field, "a tool {type: function, function: {name, description, parameters}}", tool)
    return {"type": "function", "function": about}


def _call(row: Row, field: str, call: Any) -> ToolCall:
    about = _function(row, field, "a call {id, function: {name, arguments}}", call)
    arguments = about.get("arguments")
    if arguments is None or arguments == "":
        arguments = {}
    arguments = _parsed(row, f"{field}.arguments", arguments)
    if not isinstance(arguments, dict):
        row.fail(f"{field}.arguments", "an object of arguments, or a text of its JSON", about["arguments"])
    id = call.get("id")
    if id is not None and not isinstance(id, str):
        row.fail(f"{field}.id", "a text", id)
    return ToolCall(about["name"], arguments, id)


def _function(row: Row, field: str, expected: str, value: Any) -> dict[str, Any]:
    """What a tool or a call says of its function, be it wrapped or not."""
    about = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(about, dict) or not isinstance(about.get("name"), str):
        row.fail(field, expected, value)
    return about


def _parsed(row: Row, field: str, value: Any) -> Any:
    if not isinstance(value, str):
        return _without_gaps(value) if row.columnar else value
    try:
        parsed = json.loads(value)
    except ValueError as error:
        row.fail(field, f"JSON ({error})", value)
    except RecursionError:
        row.fail(field, "JSON without too many brackets within one another", value)
    row.check_unicode(field, parsed)
    return parsed


def _without_gaps(value: Any) -> Any:
    """Tables of columns give every object of a field all the names of that field, null where a row has none."""
    if isinstance(value, dict):
        return {name: _without_gaps(held) for name, held in value.items() if held is not None}
    return [_without_gaps(held) for held in value] if isinstance(value, list) else value
