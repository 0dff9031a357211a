"""Tools: plain typed functions shown to a policy as JSON schemas, and the calls that it writes.

A call is read in the three ways that open models write it: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`
(Hermes, Qwen, SmolLM3), `[TOOL_CALLS][{…}]` (Mistral), and an object alone that has a name and arguments or parameters
(Llama 3.1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError, validate_call

from aftertrain.core.errors import PluginError, unknown
from aftertrain.core.records import JSON, ToolCall

Tool = Callable[..., Any]
"""A function with typed parameters and a docstring that says what it does and, under `Args:`, what each is."""

_BLOCK = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_LIST = "[TOOL_CALLS]"
_THOUGHT = "</think>"


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls that stand in a reply.

    Attributes:
        before: what is said before the first of them; all of a reply that has none.
        faults: for each that could not be read, why.
    """

    before: str
    calls: tuple[ToolCall, ...] = ()
    faults: tuple[str, ...] = ()


def schema_of(tool: Tool) -> JSON:
    """The JSON schema of a tool, as chat templates show it.

    Raises:
        PluginError: a parameter has no type or no words in the docstring.
    """
    from transformers.utils.chat_template_utils import (
        DocstringParsingException,
        TypeHintParsingException,
        get_json_schema,
    )

    try:
        return get_json_schema(tool)
    except (DocstringParsingException, TypeHintParsingException) as error:
        raise PluginError(
            f"tool {tool.__name__!r} cannot be shown to a model: {error}; give each parameter a type, and the function "
            "a docstring with an Args: section that says what each is"
        ) from error


def described_tools(tools: Sequence[JSON]) -> str:
    """The tools in words, for models whose chat template knows none."""
    lines = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    how = '<tool_call>\n{"name": NAME, "arguments": {PARAMETER: VALUE}}\n</tool_call>'
    return f"You may call these functions:\n{lines}\nTo call one, write\n{how}\nand wait for its result."


def calls_in(reply: str) -> Calls:
    """The calls in a reply, in order; those in its thoughts do not count.

    >>> calls_in('So: <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>').calls
    (ToolCall(name='add', arguments={'a': 1}, id=None),)
    >>> calls_in('{"name": "add", "parameters": {"a": 1}}').calls
    (ToolCall(name='add', arguments={'a': 1}, id=None),)
    >>> calls_in('<tool_call>add(1)</tool_call>').faults
    ('a call is a JSON object with a name and arguments, not add(1)',)
    >>> calls_in('It is {"a": 1}.').calls
    ()
    """
    start = reply.rfind(_THOUGHT) + len(_THOUGHT) if _THOUGHT in reply else 0
    answer = reply[start:]
    found = list(_written(answer))
    if not found:
        return Calls(reply)
    read = [call for _, text in found for call in _read(text)]
    return Calls(
        reply[: start + found[0][0]],
        tuple(call for call in read if isinstance(call, ToolCall)),
        tuple(fault for fault in read if isinstance(fault, str)),
    )


def call_tool(tools: Mapping[str, Tool], call: ToolCall) -> str:
    """What a tool gives, as the text that the policy sees; what is wrong with the call is its answer too.

    What the tool itself raises is its fault or its machine's, never the policy's, and goes on to whoever asked; a
    `ValueError` is its way to refuse arguments, and its words are the answer.
    """
    if call.name not in tools:
        return f"error: {unknown('tool', call.name, tools)}"
    try:
        return str(validate_call(tools[call.name])(**call.arguments))
    except ValidationError as error:
        return "error: " + "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    except ValueError as error:
        return f"error: {error}"


def _written(answer: str) -> Iterator[tuple[int, str]]:
    """Where calls are written, and what is written there."""
    blocks = [(block.start(), block.group(1)) for block in _BLOCK.finditer(answer)]
    if blocks:
        yield from blocks
    elif (place := answer.find(_LIST)) >= 0:
        yield place, answer[place + len(_LIST) :]
    elif (alone := answer.strip()).startswith("{") and alone.endswith("}"):
        try:
            fields = json.loads(alone)
        except (ValueError, RecursionError):
            return
        if isinstance(fields, dict) and "name" in fields and {"arguments", "parameters"} & fields.keys():
            yield answer.index("{"), alone


def _read(text: str) -> Iterator[ToolCall | str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        yield f"a call is a JSON object with a name and arguments, not {text.strip()[:200]}"
        return
    for fields in found if isinstance(found, list) else [found]:
        if not isinstance(fields, dict) or not isinstance(name := fields.get("name"), str):
            yield f"a call is a JSON object with a name and arguments, not {json.dumps(fields)[:200]}"
            continue
        arguments = fields.get("arguments", fields.get("parameters", {}))
        if isinstance(arguments, dict):
            yield ToolCall(name, arguments)
        else:
            yield f"{name}: arguments are a JSON object, not {json.dumps(arguments)[:200]}"
