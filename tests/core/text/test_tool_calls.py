"""Tools as schemas, and calls as models write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.errors import PluginError
from aftertrain.core.records import ToolCall
from aftertrain.core.text.tool_calls import call_tool, calls_in, described_tools, schema_of


def add(a: int, b: int = 1) -> str:
    """Adds.

    Args:
        a: The first.
        b: The second.
    """
    if a < 0:
        raise ValueError("a is negative")
    if a > 99:
        raise OSError("no memory")
    return str(a + b)


def bare(a, b):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Adds."""


def test_a_typed_function_is_a_schema() -> None:
    """As transformers documents it."""
    assert schema_of(add) == {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds.",
            "parameters": {
                "type": "object",
                "properties": {
                    "a": {"type": "integer", "description": "The first."},
                    "b": {"type": "integer", "description": "The second."},
                },
                "required": ["a"],
            },
            "return": {"type": "string"},
        },
    }


def test_a_function_without_types_is_refused() -> None:
    with pytest.raises(PluginError, match=r"tool 'bare' cannot be shown to a model: .* give each parameter a type"):
        schema_of(bare)


@pytest.mark.parametrize(
    "written",
    [
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>',
        '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1, "b": 2}}]',
        '{"name": "add", "parameters": {"a": 1, "b": 2}}',
        '<think>\n<tool_call>{"name": "no", "arguments": {}}</tool_call>\n</think>\n'
        '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>',
        '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}',
    ],
)
def test_a_call_is_read_as_models_write_it(written: str) -> None:
    assert calls_in(written).calls == (ToolCall("add", {"a": 1, "b": 2}),)


def test_two_calls_keep_their_order_and_a_bad_one_is_told() -> None:
    one = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    found = calls_in(f"So: {one}<tool_call>add 2</tool_call>{one.replace('1', '2')}")
    assert [call.arguments for call in found.calls] == [{"a": 1}, {"a": 2}]
    assert (found.before, found.faults) == (
        "So: ",
        ("a call is a JSON object with a name and arguments, not add 2",),
    )


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (ToolCall("add", {"a": 2, "b": 3}), "5"),
        (ToolCall("add", {"a": 2}), "3"),
        (ToolCall("add", {"a": "two"}), "error: a: Input should be a valid integer"),
        (ToolCall("add", {"b": 2}), "error: a: Missing required argument"),
        (ToolCall("add", {"a": 1, "c": 2}), "error: c: Unexpected keyword argument"),
        (ToolCall("add", {"a": -1}), "error: a is negative"),
        (ToolCall("ad", {}), "error: no tool named 'ad'. Did you mean 'add'?"),
    ],
)
def test_what_is_wrong_with_a_call_is_its_answer(call: ToolCall, answer: str) -> None:
    assert call_tool({"add": add}, call).startswith(answer)


def test_what_a_tool_itself_raises_is_no_answer() -> None:
    """It is a failure of the environment, which is never a reward."""
    with pytest.raises(OSError, match="no memory"):
        call_tool({"add": add}, ToolCall("add", {"a": 100}))


def test_tools_in_words_hold_name_and_parameters() -> None:
    words = described_tools([schema_of(add)])
    assert '"name": "add"' in words
    assert "<tool_call>" in words


@given(st.text(alphabet='{}[]":,<>/_ abTOLCS\n0', max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = calls_in(text)
    assert text.startswith(found.before)
    calls_in(f"<tool_call>{text}</tool_call>")
    calls_in("[TOOL_CALLS]" + text)
