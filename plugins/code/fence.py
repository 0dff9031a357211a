"""Finds the program in a reply. Linear in its length."""

from __future__ import annotations

import re
from typing import Literal

from aftertrain.core.answer import answer_block

_FENCE = re.compile(r"^[ \t]{0,12}(`{3,}|~{3,})([^\n`]*)$", re.MULTILINE)
_PYTHON = frozenset({"python", "python3", "py", "py3"})


def blocks(reply: str) -> list[tuple[str, str]]:
    """(language, text) of each fenced block; one that is not closed ends with the reply.

    A single bare fence with text before it closes a block that the prompt has opened.

    >>> blocks("So:\\n```python\\nx = 1\\n```\\nDone.")
    [('python', 'x = 1\\n')]
    """
    found: list[tuple[str, str]] = []
    opened: tuple[str, str, int] | None = None
    for mark in _FENCE.finditer(reply):
        ticks, info = mark[1], mark[2].strip()
        if opened is None:
            opened = (ticks, info.split(" ")[0].lower(), mark.end() + 1)
        elif not info and ticks[0] == opened[0][0] and len(ticks) >= len(opened[0]):
            found.append((opened[1], reply[opened[2] : mark.start()]))
            opened = None
    if opened is not None and not found and not opened[1] and reply[: opened[2]].strip("` \t\n"):
        before = reply[: opened[2] - 1]
        return [("", before[: before.rfind("\n") + 1])]
    if opened is not None:
        found.append((opened[1], reply[opened[2] :]))
    return found


def program(reply: str, rule: Literal["last_fence", "first_fence", "all"]) -> tuple[str, str]:
    """The program in a reply, and where it was found."""
    if rule == "all":
        return reply, "whole reply"
    fenced = blocks(reply)
    python = [text for language, text in fenced if language in _PYTHON]
    chosen = python or [text for _, text in fenced]
    if not chosen:
        block = answer_block(reply)
        return (reply, "whole reply") if block is None or not block.strip() else (block.strip("\r\n"), "answer block")
    where = "python block" if python else "block"
    return (chosen[0], f"first {where}") if rule == "first_fence" else (chosen[-1], f"last {where}")
