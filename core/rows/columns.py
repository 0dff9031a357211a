"""A row as columns of one shape, whatever its record holds, and back without loss.

The columns are those that other programs read (`messages`, `prompt`, `chosen`, `text` …). What only some rows have, and
what has no one type (tools, ground truths, facts), is JSON in a text: tables of typed columns cannot hold it otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.ground.reading import typed
from aftertrain.core.operator import RECORDS, Row
from aftertrain.core.records import (
    Check,
    Document,
    Feedback,
    Message,
    PreferencePair,
    Problem,
    Record,
    ToolCall,
)

TALKS: Mapping[str, tuple[str, ...]] = {
    "Conversation": ("messages",),
    "PreferencePair": ("prompt", "chosen", "rejected"),
    "Feedback": ("prompt", "completion"),
    "Problem": ("prompt",),
    "Document": (),
}
"""Columns of each record type that hold turns."""
_NAMES = {"completion": "reply"}
"""Where a column is not called as the record's field is: as other programs call it."""
PLAIN: Mapping[str, Mapping[str, str]] = {
    "PreferencePair": {"margin": "number"},
    "Feedback": {"label": "truth"},
    "Problem": {"checks": "text"},
    "Document": {"text": "text"},
}
"""Further columns of each record type, and of which type they are."""


def to_columns(row: Row) -> dict[str, Any]:
    """The row as plain JSON with the columns of its record type."""
    record, kind = row.record, type(row.record).__name__
    talks = {name: getattr(record, _NAMES.get(name, name)) for name in TALKS[kind]}
    columns: dict[str, Any] = {"id": record.id}
    columns |= {name: [{"role": turn.role, "content": turn.content} for turn in turns] for name, turns in talks.items()}
    match record:
        case PreferencePair():
            columns["margin"] = record.margin
        case Feedback():
            columns["label"] = record.desirable
        case Problem():
            columns["checks"] = _json([[check.verifier, check.ground_truth] for check in record.checks])
        case Document():
            columns["text"] = record.text
    more = {
        f"{name}.{place}": extras
        for name, turns in talks.items()
        for place, turn in enumerate(turns)
        if (extras := _extras(turn))
    }
    return columns | {
        "source": record.source,
        "license": record.license or "",
        "tools": _json(list(record.tools)) if not isinstance(record, Document) and record.tools else "",
        "turns": _json(more) if more else "",
        "facts": _json(dict(row.facts)) if row.facts else "",
        "history": list(row.history),
        "origin": list(row.origin),
    }


def from_columns(columns: Mapping[str, Any], kind: str, where: str) -> Row:
    """The row that was written so.

    Args:
        kind: name of the record type.
        where: where the row stands, for messages.

    Raises:
        DataError: it was not written so.
    """
    try:
        return Row(
            _record(columns, kind),
            json.loads(columns["facts"]) if columns["facts"] else {},
            tuple(columns["history"]),
            tuple(columns["origin"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: no row that a stage wrote: {type(error).__name__}: {error}") from error


def _record(columns: Mapping[str, Any], kind: str) -> Record:
    more = json.loads(columns["turns"]) if columns["turns"] else {}
    talks: dict[str, Any] = {_NAMES.get(name, name): _turns(columns[name], name, more) for name in TALKS[kind]}
    facts: dict[str, Any] = {
        "id": columns["id"],
        "source": columns["source"],
        "license": columns["license"] or None,
    }
    if kind == "Document":
        return Document(text=columns["text"], **facts)
    facts["tools"] = tuple(json.loads(columns["tools"])) if columns["tools"] else ()
    match kind:
        case "PreferencePair":
            facts["margin"] = columns["margin"]
        case "Feedback":
            facts["desirable"] = bool(columns["label"])
        case "Problem":
            facts["checks"] = tuple(Check(name, truth) for name, truth in json.loads(columns["checks"]))
    record: Record = RECORDS[kind](**facts, **talks)
    return record


def _turns(turns: Sequence[Mapping[str, Any]], name: str, more: Mapping[str, Any]) -> tuple[Message, ...]:
    return tuple(
        typed({**turn, **more.get(f"{name}.{place}", {})}, Message, f"{name}[{place}]")
        if f"{name}.{place}" in more
        else Message(turn["role"], turn["content"])
        for place, turn in enumerate(turns)
    )


def _extras(turn: Message) -> dict[str, Any]:
    """What a turn has beside its role and content."""
    extras: dict[str, Any] = {}
    if not turn.learn:
        extras["learn"] = False
    if turn.reasoning:
        extras["reasoning"] = turn.reasoning
    if turn.tool_calls:
        extras["tool_calls"] = [_call(call) for call in turn.tool_calls]
    if turn.tool_call_id is not None:
        extras["tool_call_id"] = turn.tool_call_id
    if turn.name is not None:
        extras["name"] = turn.name
    return extras


def _call(call: ToolCall) -> dict[str, Any]:
    return {"name": call.name, "arguments": dict(call.arguments), "id": call.id}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
