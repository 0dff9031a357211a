"""Turns of a conversation, as several tools write them down."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from aftertrain.core.records import Message, Role
from aftertrain.plugins.data.row import Row
from aftertrain.plugins.data.tools import NOTHING, parse_calls

ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "human": "user",
    "gpt": "assistant",
}
"""Names of roles, those of ShareGPT included."""
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Names that a turn's thoughts go by."""
WEIGHTS = ("weight", "train")
"""Fields of a turn that say whether it is learnt: OpenAI's and axolotl's."""
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")


def parse_turns(row: Row, field: str, value: Any) -> tuple[Message, ...]:
    """`[{role, content}, …]` or ShareGPT's `[{from, value}, …]`."""
    if not isinstance(value, list) or not value:
        row.fail(field, "a list of turns {role, content}", value, reason="no_turns" if value == [] else "")
    return tuple(parse_turn(row, f"{field}[{index}]", turn) for index, turn in enumerate(value))


def is_transcript(text: str) -> bool:
    """Whether a text begins as a transcript does; a plain reply may begin so too."""
    return _SPEAKER.match(text) is not None


def parse_transcript(row: Row, field: str, text: str) -> tuple[Message, ...]:
    """Anthropic's `\\n\\nHuman: … \\n\\nAssistant: …`."""
    parts = _SPEAKER.split(text)
    if parts[0].strip() or len(parts) < 3:
        row.fail(field, "a transcript that starts with 'Human:'", text)
    return tuple(
        Message("user" if speaker == "Human" else "assistant", words.strip())
        for speaker, words in zip(parts[1::2], parts[2::2], strict=True)
    )


def parse_turn(row: Row, field: str, turn: Any) -> Message:
    """`{role, content}`, with thoughts, tool calls and whether it is learnt where it says so."""
    if not isinstance(turn, dict):
        row.fail(field, "a turn {role, content}", turn)
    role, content = (turn.get("role", turn.get("from")), turn.get("content", turn.get("value")))
    if len(turn) == 2 and isinstance(role, str) and role in ROLES and isinstance(content, str):
        return Message(ROLES[role], content)  # nearly all turns are no more than that
    if not isinstance(role, str) or role not in ROLES:
        row.fail(f"{field}.role", f"one of {', '.join(ROLES)}", role, reason="unknown_role")
    calls = parse_calls(row, field, turn)
    reasoning = _reasoning(row, field, turn)
    if calls and content is None:
        content = ""
    if not isinstance(content, str):
        row.fail(f"{field}.content", "a text", content)
    if (calls or reasoning) and ROLES[role] != "assistant":
        row.fail(f"{field}.role", "assistant: only its turns have thoughts and calls", role)
    return Message(
        ROLES[role],
        content,
        _learn(row, field, turn, ROLES[role]),
        reasoning,
        calls,
        _optional(row, field, turn, "tool_call_id"),
        _optional(row, field, turn, "name") if ROLES[role] == "tool" else None,
    )


def _reasoning(row: Row, field: str, turn: Mapping[str, Any]) -> str:
    """Thoughts that do not stand in the content."""
    thoughts = {name: turn[name] for name in THOUGHTS if turn.get(name) not in NOTHING}
    for name in thoughts:
        _optional(row, field, turn, name)
    if len(set(thoughts.values())) > 1:
        first, second = list(thoughts)[:2]
        row.fail(f"{field}.{second}", f"what {first} says too", thoughts[second])
    return next(iter(thoughts.values()), "")


def _optional(row: Row, field: str, turn: Mapping[str, Any], name: str) -> str | None:
    value = turn.get(name)
    if value is not None and not isinstance(value, str):
        row.fail(f"{field}.{name}", "a text", value)
    return value


def _learn(row: Row, field: str, turn: Mapping[str, Any], role: Role) -> bool:
    """Whether a turn of the assistant is a target: it is, unless its weight is 0."""
    weights = {name: turn[name] for name in WEIGHTS if turn.get(name) is not None}
    for name, value in weights.items():
        if value not in (0, 1):
            row.fail(f"{field}.{name}", "1 (learnt) or 0 (context); turns cannot be weighted otherwise", value)
        if value and role != "assistant":
            row.fail(f"{field}.{name}", f"0 or nothing: turns of the role {role} are never learnt", value)
    if len({bool(value) for value in weights.values()}) > 1:
        other = json.dumps(turn[WEIGHTS[1]])
        row.fail(f"{field}.{WEIGHTS[0]}", f"what {WEIGHTS[1]} says too ({other})", turn[WEIGHTS[0]])
    return all(weights.values())
