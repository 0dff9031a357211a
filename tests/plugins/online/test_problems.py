"""Prompts of problems: the tools on offer, and what a template may not leave out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.chat import load_tokenizer
from aftertrain.core.dataset import Dataset
from aftertrain.core.errors import DataError
from aftertrain.core.records import Check, Message, Problem
from aftertrain.core.settings import Settings
from aftertrain.plugins.online.problems import load_prompts

TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {}}}
WITH_TOOLS = (
    "{% for tool in tools %}{{ tool | tojson + '\n' }}{% endfor %}"
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
)


class Offer(Dataset[Settings]):
    """One problem with a tool."""

    @property
    def record_type(self) -> type[Problem]:
        return Problem

    def __iter__(self) -> Iterator[Problem]:
        yield Problem("sum", (Message("user", "2 + 3?"),), (Check("one", "5"),), "sums", tools=(TOOL,))

    def fingerprint(self) -> str:
        return "0"


def prompts(tokenizer: Any) -> Any:
    return load_prompts(Offer(Settings(), None), "offer", tokenizer, ["one"], limits={})  # type: ignore[arg-type]


def test_tools_stand_in_the_prompt(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = WITH_TOOLS
    (prompt,) = prompts(tokenizer).kept
    assert tokenizer.decode(prompt.token_ids).startswith('{"type": "function", "function": {"name": "add"')


def test_a_template_without_tools_is_refused_with_the_problem(tiny_model: Path) -> None:
    """The policy would be asked to use tools that it was never told of."""
    with pytest.raises(DataError, match="problem 'sum': the chat template leaves out the tools; use a template that"):
        prompts(load_tokenizer(str(tiny_model)))
