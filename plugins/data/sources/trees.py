"""Trees of messages, as OpenAssistant's: each path from a first prompt to a last answer is a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from aftertrain.plugins.data.row import Row

ROLES = {"prompter": "user", "assistant": "assistant"}


def paths(rows: Iterator[Row], branches: int) -> Iterator[Row]:
    """The paths, in the order of their first prompts and, at each message, of their ratings. All rows are in memory.

    Deleted messages end a path, and prompts that nobody answered are no part of one: it ends with the answer before.

    Args:
        branches: replies that are followed at each message: those with the highest rating of `quality` (0 where a
            message has none), the earlier first among equals.
    """
    first: list[Row] = []
    replies: dict[str, list[Row]] = {}
    for row in rows:
        if row.broken is not None:
            yield row
        elif row.values.get("role") not in ROLES:
            broken = f"field 'role': expected one of {', '.join(ROLES)}, found {row.values.get('role')!r:.60}"
            yield replace(row, broken=("unknown_role", broken))
        elif not row.values.get("deleted"):
            parent = row.values.get("parent_id")
            (first if parent is None else replies.setdefault(parent, [])).append(row)

    def following(row: Row) -> list[Row]:
        children = replies.get(_id(row), [])
        answered = [child for child in children if child.values["role"] == "assistant" or _id(child) in replies]
        return sorted(answered, key=_quality, reverse=True)[:branches]

    for root in first:
        # A list of what is left, as a tree may be deeper than calls.
        left = [[root]]
        while left:
            path = left.pop()
            children = following(path[-1])
            left += [[*path, child] for child in reversed(children)]
            if not children and path[-1].values["role"] == "assistant":
                yield _conversation(path)


def _id(row: Row) -> Any:
    return row.values["message_id"]


def _quality(row: Row) -> float:
    labels: Mapping[str, Any] = row.values.get("labels") or {}
    rated = dict(zip(labels.get("name") or (), labels.get("value") or (), strict=False))
    quality = rated.get("quality")
    return float(quality) if isinstance(quality, int | float) else 0.0


def _conversation(path: list[Row]) -> Row:
    turns = [{"role": ROLES[row.values["role"]], "content": row.values["text"]} for row in path]
    return replace(path[-1], values={"id": _id(path[-1]), "messages": turns}, plain=False)
