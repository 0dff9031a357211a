"""Prompts of problems: the tools on offer, and what a template may not leave out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aftertrain.api.evaluation import build_verifier
from aftertrain.core.dataset import Dataset
from aftertrain.core.errors import DataError
from aftertrain.core.records import Check, Completion, Message, Problem
from aftertrain.core.settings import Settings
from aftertrain.core.text.chat import load_tokenizer
from aftertrain.plugins.online.problems import load_prompts
from aftertrain.plugins.online.reward import verdicts_on
from aftertrain.plugins.online.rollout import Rollout

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


OPENED = "{{ messages[0]['content'] }}\n<think>\n"
PLAIN = "{{ messages[0]['content'] }}\n"
OTHER = "{{ messages[0]['content'] }}\n{# [THINK]…[/THINK] #}"


@pytest.mark.parametrize(
    ("template", "reply", "answer", "form"),
    [
        (OPENED, "5, no: 4</think> 4", 0.0, 1.0),
        (OPENED, "4, no</think> 5", 1.0, 1.0),
        (OPENED, "<think>4, no</think> 5", 1.0, 0.0),
        (OPENED, "5", None, 0.0),
        (PLAIN, "<think>4</think> 5", 1.0, 1.0),
        (PLAIN, "5", 1.0, 0.0),
        (OTHER, "[THINK]5[/THINK]4", 0.0, 0.0),
    ],
)
def test_the_templates_thoughts_reach_the_verifiers(
    tiny_model: Path, template: str, reply: str, answer: float | None, form: float
) -> None:
    """From a data set's problems to verdicts: a reply goes on within the thoughts that its prompt has opened."""
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = template
    verifiers = {
        "number": build_verifier("gsm8k", {"extract": "flexible"}),
        "form": build_verifier("format", {"tags": ["think"], "after": "text"}),
    }

    class Sum(Offer):
        def __iter__(self) -> Iterator[Problem]:
            checks = tuple(Check(name, "5") for name in verifiers)
            yield Problem("sum", (Message("user", "2 + 3?"),), checks, "sums")

    data = Sum(Settings(), None)  # type: ignore[arg-type]
    (prompt,) = load_prompts(data, "sums", tokenizer, list(verifiers), limits={}).kept
    completion = Completion("0", prompt.token_ids, (6,), (-1.0,), (0,), "stop", reply)
    (verdicts,) = verdicts_on([Rollout("sum/0", 0, prompt, completion)], verifiers)
    assert {name: verdict.value for name, verdict in verdicts} == {"number": answer, "form": form}
