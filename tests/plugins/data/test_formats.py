"""Rows of every format to records, and what is said of rows that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from aftertrain.core.errors import DataError
from aftertrain.core.records import Check, Conversation, Feedback, Message, PreferencePair, Problem, ToolCall
from aftertrain.plugins.data.settings import JsonlSettings

USER, REPLY = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}
HI, HO = Message("user", "Hi"), Message("assistant", "Ho")
GSM = {"question": "How many?", "answer": "2 * 600 = <<2*600=1200>>1200\n#### 1,200"}


def one(dataset: Callable[..., Any], path: Any, **settings: Any) -> Any:
    (record,) = dataset("jsonl", path=str(path), **settings)
    return record


CONVERSATIONS = [
    ({"messages": [USER, REPLY]}, {}),
    (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
        {"messages": "conversations"},
    ),
]


@pytest.mark.parametrize(("row", "fields"), CONVERSATIONS)
def test_messages(row: Any, fields: Any, dataset: Any, write: Any) -> None:
    record = one(dataset, write([{"id": "a", **row}]), fields=fields, source="talk", license="MIT")
    assert record == Conversation("a", (HI, HO), "talk", "MIT")


def test_prompt_and_response(dataset: Any, write: Any) -> None:
    path = write([{"id": 7, "query": "Hi", "response": "Ho"}])
    record = one(dataset, path, format="prompt_response", fields={"prompt": "query"})
    assert record == Conversation("7", (HI, HO), "rows")


def test_gsm8k_as_conversation_and_as_problem(dataset: Any, write: Any) -> None:
    """The problem's truth is the number after the last ####, without its comma."""
    path = write([{"id": "g", **GSM}])
    question, answer = Message("user", GSM["question"]), Message("assistant", GSM["answer"])
    assert one(dataset, path, format="gsm8k") == Conversation("g", (question, answer), "rows")
    problem = one(dataset, path, format="gsm8k", **{"as": "problem"})
    assert problem == Problem("g", (question,), (Check("gsm8k", "1200"),), "rows")
    assert dataset("jsonl", path=str(path), format="gsm8k", **{"as": "problem"}).record_type is Problem


PAIRS = {
    "texts": {"prompt": "Hi", "chosen": "Ho", "rejected": "Hm"},
    "turns": {"prompt": "Hi", "chosen": [USER, REPLY], "rejected": [USER, {"role": "assistant", "content": "Hm"}]},
    "prompt of turns": {"prompt": [USER], "chosen": [REPLY], "rejected": [{"role": "assistant", "content": "Hm"}]},
    "transcripts": {"chosen": "\n\nHuman: Hi\n\nAssistant: Ho", "rejected": "\n\nHuman: Hi\n\nAssistant: Hm"},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "Hi"}],
        "chosen": {"from": "gpt", "value": "Ho"},
        "rejected": {"from": "gpt", "value": "Hm"},
    },
}


@pytest.mark.parametrize("form", PAIRS)
def test_preference(form: str, dataset: Any, write: Any) -> None:
    record = one(dataset, write([{"id": "p", **PAIRS[form]}]), format="preference")
    assert record == PreferencePair("p", (HI,), (HO,), (Message("assistant", "Hm"),), "rows")


def test_preference_of_longer_talks_splits_where_they_part(dataset: Any, write: Any) -> None:
    """They part at a user's turn: each side then goes on from the assistant's turn before it."""
    other = [USER, REPLY, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "A"}]
    another = [USER, REPLY, {"role": "user", "content": "Stay"}, {"role": "assistant", "content": "B"}]
    record = one(dataset, write([{"chosen": other, "rejected": another}]), format="preference")
    assert record.prompt == (HI,)
    assert [message.content for message in record.chosen] == ["Ho", "Bye", "A"]


SPOKEN = "Human: hi there\n\nAssistant: hello world"
NESTED = "It said:\n\nHuman: hi\n\nAssistant: ho"


@pytest.mark.parametrize("reply", [SPOKEN, f"\n\n{SPOKEN}", "Assistant: is the word", "Human:", NESTED])
@pytest.mark.parametrize("transcripts", [None, False])
@pytest.mark.parametrize("prompt", ["Write it.", [USER], ""])
def test_a_text_beside_a_prompt_is_one_reply(
    reply: str, prompt: Any, transcripts: bool | None, dataset: Any, write: Any
) -> None:
    """A reply that begins `Human:` was split into turns and its first words cut, and a pair's prompt went with them."""
    row = {"prompt": prompt, "completion": reply, "chosen": reply, "rejected": "no", "response": reply, "label": True}
    path, said = write([row]), (Message("assistant", reply),)
    asked = (Message("user", prompt),) if isinstance(prompt, str) else (HI,)
    assert one(dataset, path, format="feedback", transcripts=transcripts).reply == said
    for fields in ({}, {"chosen": "rejected", "rejected": "chosen"}):
        pair = one(dataset, path, format="preference", fields=fields, transcripts=transcripts)
        assert (pair.prompt, {pair.chosen, pair.rejected}) == (asked, {said, (Message("assistant", "no"),)})
    both = one(dataset, write([row | {"rejected": f"{reply}!"}]), format="preference", transcripts=transcripts)
    assert (both.prompt, both.chosen) == (asked, said)
    if isinstance(prompt, str):
        assert one(dataset, path, format="prompt_response").messages[1:] == said


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        ({"messages": [USER, {"role": "assistant", "content": SPOKEN}]}, {}),
        ({"instruction": "Hi", "output": SPOKEN}, {"format": "alpaca"}),
        ({"conversations": [USER], "chosen": SPOKEN, "rejected": "no"}, {"format": "preference"}),
        (
            {"prompt": "Hi", "chosen": [{"role": "assistant", "content": SPOKEN}], "rejected": "no"},
            {"format": "preference"},
        ),
        (
            {"prompt": "Hi", "chosen": {"role": "assistant", "content": SPOKEN}, "rejected": "no"},
            {"format": "preference"},
        ),
        (
            {"prompt": "Hi", "completion": [{"role": "assistant", "content": SPOKEN}], "label": 1},
            {"format": "feedback"},
        ),
    ],
)
def test_a_turn_is_never_a_transcript(row: Any, settings: Any, dataset: Any, write: Any) -> None:
    record = one(dataset, write([row]), **settings)
    said = (
        record.messages
        if isinstance(record, Conversation)
        else (*record.prompt, *(record.reply if isinstance(record, Feedback) else record.chosen))
    )
    assert said == (HI, Message("assistant", SPOKEN))


HH = "\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: Bye\n\nAssistant: "


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        ({"chosen": HH + "A", "rejected": HH + "B"}, {}),
        ({"prompt": None, "chosen": HH + "A", "rejected": HH + "B"}, {}),
        ({"chosen": HH + "A", "rejected": HH + "B"}, {"transcripts": True}),
        ({"prompt": HH.rstrip(), "chosen": " A", "rejected": " B"}, {"transcripts": True}),
        ({"prompt": "Bye", "chosen": HH + "A", "rejected": HH + "B"}, {"transcripts": True}),
        ({"prompt": HH.rstrip(), "chosen": "\n\nAssistant: A", "rejected": "B"}, {"transcripts": True}),
    ],
)
def test_transcripts_are_read_where_they_can_be_nothing_else_or_are_asked_for(
    row: Any, settings: Any, dataset: Any, write: Any
) -> None:
    """Anthropic's HH-RLHF has no prompt; a copy of it has the prompt as a transcript."""
    pair = one(dataset, write([row]), format="preference", **settings)
    assert [turn.content for turn in pair.prompt] == ["Hi", "Ho", "Bye"]
    assert (pair.chosen, pair.rejected) == ((Message("assistant", "A"),), (Message("assistant", "B"),))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"prompt": "Bye", "chosen": HH + "A", "rejected": "B"},
            "repeats the prompt as a transcript; set transcripts: true",
        ),
        ({"chosen": HH + "A", "rejected": "B"}, "field 'rejected': expected a transcript that starts with 'Human:'"),
        ({"chosen": "B", "rejected": HH + "A"}, "field 'chosen': expected a transcript that starts with 'Human:'"),
        ({"chosen": HH + "A\n\nHuman: So?", "rejected": HH + "A"}, "turns that end with the assistant's"),
    ],
)
def test_half_transcripts_are_refused(row: Any, words: str, dataset: Any, write: Any) -> None:
    with pytest.raises(DataError) as caught:
        one(dataset, write([row]), format="preference")
    assert words in str(caught.value)


def test_feedback_reads_transcripts_where_it_is_told_to(dataset: Any, write: Any) -> None:
    path = write([{"prompt": "Bye", "completion": HH + "A", "label": True}])
    with pytest.raises(DataError, match="set transcripts: true to read turns in it, or transcripts: false"):
        one(dataset, path, format="feedback")
    told = one(dataset, path, format="feedback", transcripts=True)
    assert [turn.content for turn in (*told.prompt, *told.reply)] == ["Hi", "Ho", "Bye", "A"]
    assert one(dataset, path, format="feedback", transcripts=False).reply == (Message("assistant", HH + "A"),)
    with pytest.raises(ValidationError, match="it is for format: preference or feedback, and format is messages"):
        JsonlSettings(path="x", format="messages", transcripts=True)


ASK, MORE = {"role": "user", "content": "Ask"}, {"role": "user", "content": "More"}
SYSTEM = {"role": "system", "content": "Be rude."}
GOOD, BAD = {"role": "assistant", "content": "good"}, {"role": "assistant", "content": "bad"}


@pytest.mark.parametrize(
    ("prompt", "before", "expected"),
    [
        ([SYSTEM, ASK], [REPLY, MORE], ["Be rude.", "Ask", "Ho", "More"]),
        ("Ask", [REPLY, MORE], ["Ask", "Ho", "More"]),
        ([SYSTEM], [ASK], ["Be rude.", "Ask"]),
        ([ASK, REPLY], [MORE], ["Ask", "Ho", "More"]),
        ([SYSTEM, ASK], [SYSTEM, ASK, REPLY, MORE], ["Be rude.", "Ask", "Ho", "More"]),
        ("More", [SYSTEM, ASK, REPLY, MORE], ["Be rude.", "Ask", "Ho", "More"]),
        ("Ask ", [ASK], ["Ask"]),
        ("", [ASK], ["Ask"]),
    ],
)
def test_a_prompt_stands_before_longer_replies(
    prompt: Any, before: list[Any], expected: list[str], dataset: Any, write: Any
) -> None:
    """It was thrown away where a side holds more than its last reply; here it is there once, however it is given."""
    row = {"prompt": prompt, "chosen": [*before, GOOD], "rejected": [*before, BAD]}
    record = one(dataset, write([row]), format="preference")
    assert [message.content for message in record.prompt] == expected
    assert [message.content for message in (*record.chosen, *record.rejected)] == ["good", "bad"]


def test_a_side_of_two_replies_follows_the_prompt(dataset: Any, write: Any) -> None:
    row = {"prompt": "Ask", "chosen": [REPLY, MORE, GOOD], "rejected": [BAD]}
    record = one(dataset, write([row]), format="preference")
    assert [len(side) for side in (record.prompt, record.chosen, record.rejected)] == [1, 3, 1]


@pytest.mark.parametrize(("field", "off", "on"), [("weight", 0, 1), ("weight", 0.0, None), ("train", False, True)])
def test_a_turn_s_weight_says_whether_it_is_learnt(field: str, off: Any, on: Any, dataset: Any, write: Any) -> None:
    turns = [{**USER, field: None}, {**REPLY, field: off}, USER, {**REPLY, field: on}]
    record = one(dataset, write([{"messages": turns}]))
    assert [message.learn for message in record.messages] == [True, False, True, True]


@pytest.mark.parametrize("nothing", [None, [], "", "[]"])
def test_no_tools_are_no_tools(nothing: Any, dataset: Any, write: Any) -> None:
    turns = [USER, {**REPLY, "tool_calls": nothing, "reasoning_content": ""}]
    assert one(dataset, write([{"messages": turns, "tools": nothing}])).messages == (HI, HO)


F = {"name": "f", "description": "?", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}
FUNCTION = {"type": "function", "function": F}
CALLED = {"name": "f", "arguments": {"x": 2}}


@pytest.mark.parametrize(
    "row",
    [{"tools": [FUNCTION]}, {"tools": [F]}, {"tools": json.dumps([FUNCTION])}, {"functions": [F]}],
    ids=["transformers", "bare", "text", "OpenAI's older"],
)
@pytest.mark.parametrize(
    "turn",
    [
        {
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 2}}}],
        },
        {"content": "", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"x": 2}'}}]},
        {"tool_calls": '[{"id": "1", "name": "f", "arguments": {"x": 2}}]'},
    ],
    ids=["OpenAI's", "arguments as text", "all as text"],
)
def test_tools_and_calls_of_several_makes_are_one(row: Any, turn: Any, dataset: Any, write: Any) -> None:
    turns = [
        USER,
        {"role": "assistant", **turn},
        {"role": "tool", "content": "4", "tool_call_id": "1", "name": "f"},
        REPLY,
    ]
    record = one(dataset, write([{"messages": turns, **row}]))
    assert record.tools == (FUNCTION,)
    call = Message("assistant", "", tool_calls=(ToolCall("f", {"x": 2}, "1"),))
    assert record.messages == (HI, call, Message("tool", "4", tool_call_id="1", name="f"), HO)


def test_an_older_call_is_a_call(dataset: Any, write: Any) -> None:
    turns = [USER, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}]
    assert one(dataset, write([{"messages": turns}])).messages[1].tool_calls == (ToolCall("f", {}),)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_stand_beside_the_content(name: str, dataset: Any, write: Any) -> None:
    record = one(dataset, write([{"messages": [USER, {**REPLY, name: "hm"}]}]))
    assert record.messages == (HI, Message("assistant", "Ho", reasoning="hm"))


def test_problems_and_pairs_have_tools_too(dataset: Any, write: Any) -> None:
    pair = one(dataset, write([{**PAIRS["texts"], "tools": [F]}]), format="preference")
    problem = one(dataset, write([{**GSM, "tools": [F]}]), format="gsm8k", **{"as": "problem"})
    assert pair.tools == problem.tools == (FUNCTION,)


def test_columns_fill_no_gaps_of_tools_and_calls(dataset: Any, tmp_path: Path) -> None:
    """A table gives each call of a column the arguments of all its calls, null where it has none."""
    import pyarrow
    from pyarrow.parquet import write_table

    calls = [{"name": "f", "arguments": {"x": 2}}, {"name": "g", "arguments": {"y": {"z": [1]}}}]
    turns = [{**USER, "tool_calls": None}, {"role": "assistant", "content": "", "tool_calls": calls}]
    path = tmp_path / "rows.parquet"
    write_table(pyarrow.Table.from_pylist([{"messages": turns, "tools": [F, {"name": "g"}]}]), path)
    (record,) = dataset("parquet", path=str(path))
    assert record.messages[1].tool_calls == (ToolCall("f", {"x": 2}), ToolCall("g", {"y": {"z": [1]}}))
    assert record.tools == (FUNCTION, {"type": "function", "function": {"name": "g"}})


def test_equal_replies_stay_a_pair(dataset: Any, write: Any) -> None:
    record = one(dataset, write([{"chosen": [USER, REPLY], "rejected": [USER, REPLY]}]), format="preference")
    assert (record.prompt, record.chosen, record.rejected) == ((HI,), (HO,), (HO,))


@pytest.mark.parametrize("names", [("chosen_rating", "rejected_rating"), ("score_chosen", "score_rejected")])
def test_the_margin_of_ratings_is_kept(names: tuple[str, str], dataset: Any, write: Any) -> None:
    """4.5 − 2 = 2.5 (F19)."""
    row = {**PAIRS["texts"], names[0]: 4.5, names[1]: 2}
    assert one(dataset, write([row]), format="preference").margin == 2.5


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": "Ho", "label": False},
        {"prompt": [USER], "completion": [REPLY], "label": 0},
    ],
)
def test_feedback(row: Any, dataset: Any, write: Any) -> None:
    """TRL's unpaired preferences: a prompt, one completion, a label."""
    source = dataset("jsonl", path=str(write([{"id": "f", **row}])), format="feedback")
    assert source.record_type is Feedback
    assert list(source) == [Feedback("f", (HI,), (HO,), False, "rows")]


def test_a_margin_of_its_own_is_kept(dataset: Any, write: Any) -> None:
    """It wins over ratings; TRL's data sets for reward models have it."""
    row = {**PAIRS["texts"], "margin": 0.75, "score_chosen": 5, "score_rejected": 1}
    assert one(dataset, write([row]), format="preference").margin == 0.75


def test_verifiable_problems(dataset: Any, write: Any) -> None:
    row = {"id": "v", "messages": [USER, REPLY], "ground_truth": "4", "dataset": "MATH"}
    assert one(dataset, write([row]), format="rlvr") == Problem("v", (HI,), (Check("math", "4"),), "rows")
    row["dataset"] = "mine"
    record = one(dataset, write([row]), format="rlvr", verifiers={"mine": "exact"})
    assert record.checks == (Check("exact", "4"),)


MISFITS = [
    ({"messages": "Hi"}, {}, "field 'messages': expected a list of turns {role, content}, found the text 'Hi'"),
    ({}, {}, "field 'messages' is missing; the row has no columns"),
    ({"messages": [USER]}, {}, "field 'messages': expected at least one turn of the assistant, found a list [{"),
    ({"messages": ["Hi"]}, {}, "field 'messages[0]': expected a turn {role, content}, found the text 'Hi'"),
    ({"messages": [{"role": "boss", "content": ""}]}, {}, "field 'messages[0].role': expected one of system, user"),
    ({"messages": [{"role": "user"}]}, {}, "field 'messages[0].content': expected a text, found null or nothing"),
    (
        {"messages": [USER, {**REPLY, "tool_calls": [{"function": "f"}]}]},
        {},
        "field 'messages[1].tool_calls[0]': expected a call {id, function: {name, arguments}}, found an object",
    ),
    (
        {"messages": [USER, {**REPLY, "tool_calls": [{"name": "f", "arguments": "[1]"}]}]},
        {},
        "field 'messages[1].tool_calls[0].arguments': expected an object of arguments, or a text of its JSON",
    ),
    (
        {"messages": [USER, {**REPLY, "tool_calls": [{"name": "f", "arguments": "{x"}]}]},
        {},
        "field 'messages[1].tool_calls[0].arguments': expected JSON (Expecting property name",
    ),
    (
        {"messages": [{**USER, "tool_calls": [{"name": "f"}]}, REPLY]},
        {},
        "field 'messages[0].role': expected assistant: only its turns have thoughts and calls, found the text 'user'",
    ),
    (
        {"messages": [USER, {**REPLY, "reasoning_content": ["hm"]}]},
        {},
        "field 'messages[1].reasoning_content': expected a text, found a list",
    ),
    (
        {"messages": [USER, {**REPLY, "reasoning_content": "hm", "thinking": "ha"}]},
        {},
        "field 'messages[1].thinking': expected what reasoning_content says too, found the text 'ha'",
    ),
    (
        {"messages": [USER, REPLY], "tools": {"name": "f"}},
        {},
        "field 'tools': expected a list of tools, found an object",
    ),
    (
        {"messages": [USER, REPLY], "tools": [{"type": "function"}]},
        {},
        "field 'tools[0]': expected a tool {type: function, function: {name, description, parameters}}, found an",
    ),
    (
        {"messages": [USER, {**REPLY, "weight": 0.5}]},
        {},
        "field 'messages[1].weight': expected 1 (learnt) or 0 (context); turns cannot be weighted otherwise, found",
    ),
    (
        {"messages": [{**USER, "train": True}, REPLY]},
        {},
        "field 'messages[0].train': expected 0 or nothing: turns of the role user are never learnt, found true",
    ),
    (
        {"messages": [USER, {**REPLY, "train": True, "weight": 0}]},
        {},
        "field 'messages[1].weight': expected what train says too (true), found the number 0",
    ),
    (
        {"prompt": "Ask", "chosen": [USER, REPLY], "rejected": [USER, REPLY]},
        {"format": "preference"},
        "field 'chosen': expected turns that have the row's prompt in them or go on from it with the assistant, found",
    ),
    (
        {"chosen": [USER, REPLY, USER], "rejected": [USER, REPLY]},
        {"format": "preference"},
        "field 'chosen': expected turns that end with the assistant's, found the text 'user'",
    ),
    (
        {**PAIRS["texts"], "chosen_rating": "4.5", "rejected_rating": 2},
        {"format": "preference"},
        "field 'chosen_rating': expected a number, found the text '4.5'",
    ),
    (
        {**PAIRS["texts"], "score_chosen": 4.5, "score_rejected": float("nan")},
        {"format": "preference"},
        "field 'score_rejected': expected a number, found the number NaN",
    ),
    (
        {**PAIRS["texts"], "score_chosen": True, "score_rejected": 1},
        {"format": "preference"},
        "field 'score_chosen': expected a number, found true",
    ),
    (
        {"prompt": 3, "response": "a"},
        {"format": "prompt_response"},
        "field 'prompt': expected a text, found the number 3",
    ),
    (
        {"question": "q", "answer": "four"},
        {"format": "gsm8k", "as": "problem"},
        "field 'answer': expected a last line '#### number', found the text 'four'",
    ),
    (
        {"chosen": "a", "rejected": "b"},
        {"format": "preference"},
        "field 'prompt': expected a list of turns {role, content}, found null or nothing; the row has: chosen, rej",
    ),
    (
        {"prompt": "a", "completion": "b", "label": "good"},
        {"format": "feedback"},
        "field 'label': expected true (desirable) or false (undesirable), found the text 'good'",
    ),
    (
        {"prompt": "a", "label": True},
        {"format": "feedback"},
        "field 'completion' is missing; the row has: prompt, label",
    ),
    (
        {"prompt": "a", "completion": [USER], "label": True},
        {"format": "feedback"},
        "field 'completion': expected a completion that ends with the assistant's turn, found the text 'user'",
    ),
    (
        {"chosen": [REPLY, USER], "rejected": [USER, REPLY]},
        {"format": "preference"},
        "field 'chosen': expected conversations that share a prompt and go on with the assistant; chosen and rejected "
        "differ at turn 1 (assistant)",
    ),
    (
        {"messages": [USER], "ground_truth": "4", "dataset": "gms8k"},
        {"format": "rlvr"},
        "field 'dataset': expected one of MATH, gsm8k, ifeval, math (others are named in the setting verifiers), "
        "found the text 'gms8k'",
    ),
    (
        {"messages": [USER], "dataset": "gsm8k"},
        {"format": "rlvr"},
        "field 'ground_truth' is missing; the row has: messages, dataset",
    ),
]


@pytest.mark.parametrize(("row", "settings", "message"), MISFITS)
def test_a_misfit_names_line_field_and_what_was_expected(
    row: Any, settings: Any, message: str, dataset: Any, write: Any
) -> None:
    path = write(["", row])
    with pytest.raises(DataError) as caught:
        one(dataset, path, **settings)
    assert str(caught.value).startswith(f"{path}:2: {message}")


def test_fields_and_as_fit_the_format() -> None:
    with pytest.raises(ValidationError, match="the format messages has no field question; it has: messages"):
        JsonlSettings(path="x", fields={"question": "q"})
    with pytest.raises(ValidationError, match="it is for format: gsm8k, and format is messages"):
        JsonlSettings(path="x", **{"as": "problem"})
