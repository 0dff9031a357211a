"""Prompts of several turns that stand in one text."""

from __future__ import annotations

import re

from aftertrain.plugins.data.row import Row
from aftertrain.plugins.data.turns import is_transcript, parse_transcript

MARK = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
"""Between the turns of HelpSteer2's prompts, whose first has none."""


def marked_turns(prompt: str) -> list[dict[str, str]]:
    r"""Turns of a prompt of HelpSteer2.

    >>> [turn["role"] for turn in marked_turns("Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nMore")]
    ['user', 'assistant', 'user']
    """
    first, *rest = MARK.split(prompt)
    turns = [{"role": "user", "content": first}]
    return turns + [{"role": who.lower(), "content": text} for who, text in zip(rest[::2], rest[1::2], strict=True)]


def human_turns(row: Row, field: str, prompt: str) -> list[dict[str, str]]:
    r"""Turns of `\n\nHuman: … \n\nAssistant: `, the begun reply left out; any other text is one turn of the user."""
    if not is_transcript(prompt):
        return [{"role": "user", "content": prompt}]
    turns = [{"role": turn.role, "content": turn.content} for turn in parse_transcript(row, field, prompt)]
    return turns[:-1] if len(turns) > 1 and turns[-1] == {"role": "assistant", "content": ""} else turns
