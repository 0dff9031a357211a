"""Rows to records, one function per format. Every error names file, line, field, what was expected and found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aftertrain.core.records import Check, Conversation, Document, Feedback, Message, PreferencePair, Problem, Record
from aftertrain.plugins.data.columns import check_columns
from aftertrain.plugins.data.row import Row, encodable
from aftertrain.plugins.data.settings import FIELDS, TableSettings
from aftertrain.plugins.data.tools import parse_tools
from aftertrain.plugins.data.turns import is_transcript, parse_transcript, parse_turn, parse_turns

RATINGS = (("chosen_rating", "rejected_rating"), ("score_chosen", "score_rejected"))
"""Columns whose difference is a pair's margin."""
FINAL_NUMBER = re.compile(r"####\s*(\S.*?)\s*$")


@dataclass(frozen=True, slots=True)
class _Context:
    """What a converter is given beside the row: ids and columns."""

    row: Row
    columns: Mapping[str, str]
    settings: TableSettings
    id: str
    source: str


def record_of(row: Row, settings: TableSettings, source: str) -> Record:
    """The record of one row.

    Raises:
        RowFault: the row does not fit the format.
    """
    if row.broken is not None:
        row.refuse(*row.broken)
    row.check_unicode("", row.values)
    check_columns(row, settings)
    columns = {**FIELDS[settings.format], **settings.fields}
    context = _Context(row, columns, settings, row_id(row, source), source)
    record = CONVERTERS[settings.format](context)
    tools = parse_tools(row)
    if not tools:
        return record
    if isinstance(record, Document):
        row.fail("tools", "nothing: no chat template would show them beside a text", row.values.get("tools"))
    return replace(record, tools=tools)


def row_id(row: Row, source: str) -> str:
    """The row's own id, or one made of the data set's name and the row's content; one that UTF-8 can hold."""
    given = row.values.get("id")
    if row.plain and type(given) is str and given:
        return given
    own = str(given) if isinstance(given, str | int) else ""
    return own if own and encodable(own) == own else f"{source}-{_digest(row.values)}"


def _conversation(context: _Context) -> Conversation:
    column = context.columns["messages"]
    turns = parse_turns(context.row, column, context.row.values.get(column))
    if not any(turn.role == "assistant" for turn in turns):
        context.row.fail(
            column, "at least one turn of the assistant", context.row.values[column], reason="no_assistant_turn"
        )
    return Conversation(context.id, turns, context.source, context.settings.license)


def _prompt_response(context: _Context) -> Conversation:
    turns = (
        Message("user", context.row.text(context.columns["prompt"])),
        Message("assistant", context.row.text(context.columns["response"])),
    )
    return Conversation(context.id, turns, context.source, context.settings.license)


def _alpaca(context: _Context) -> Conversation:
    """Instruction and input are one turn of the user, an empty line between them."""
    column = context.columns["input"]
    more = "" if context.row.values.get(column) is None else context.row.text(column)
    asked = context.row.text(context.columns["instruction"])
    turns = (
        Message("user", f"{asked}\n\n{more}" if more.strip() else asked),
        Message("assistant", context.row.text(context.columns["output"])),
    )
    return Conversation(context.id, turns, context.source, context.settings.license)


def _text(context: _Context) -> Document:
    text = context.row.text(context.columns["text"])
    return Document(context.id, text, context.source, context.settings.license)


def _gsm8k(context: _Context) -> Conversation | Problem:
    question = Message("user", context.row.text(context.columns["question"]))
    answer = context.row.text(context.columns["answer"])
    if context.settings.as_ != "problem":
        turns = (question, Message("assistant", answer))
        return Conversation(context.id, turns, context.source, context.settings.license)
    found = FINAL_NUMBER.search(answer)
    if found is None:
        context.row.fail(context.columns["answer"], "a last line '#### number'", answer[-60:])
    check = Check("gsm8k", found.group(1).replace(",", ""))
    return Problem(context.id, (question,), (check,), context.source, context.settings.license)


def _rlvr(context: _Context) -> Problem:
    columns, row = context.columns, context.row
    prompt = parse_turns(row, columns["messages"], row.values.get(columns["messages"]))
    while prompt and prompt[-1].role == "assistant":
        prompt = prompt[:-1]
    if not prompt:
        row.fail(columns["messages"], "a turn before the assistant's", row.values[columns["messages"]])
    truth = row.values.get(columns["ground_truth"])
    if truth is None:
        row.fail(columns["ground_truth"], "a ground truth", truth)
    tag = row.text(columns["dataset"])
    verifier = context.settings.verifiers.get(tag)
    if verifier is None:
        known = ", ".join(sorted(context.settings.verifiers))
        row.fail(columns["dataset"], f"one of {known} (others are named in the setting verifiers)", tag)
    return Problem(context.id, prompt, (Check(verifier, truth),), context.source, context.settings.license)


def _preference(context: _Context) -> PreferencePair:
    row, columns = context.row, context.columns
    sides = [row.values.get(columns[side]) for side in ("chosen", "rejected")]
    given = row.values.get(columns["prompt"])
    if given is None and columns["prompt"] not in row.values and not (isinstance(sides[0], list) and len(sides[0]) > 1):
        given = row.values.get("conversations", row.values.get("messages"))
    # Without a prompt a text can only be a transcript, and where one side is one, both are.
    prompted = given is not None and (given != "" or row.has(columns["prompt"]))
    told = not prompted and any(isinstance(side, str) and is_transcript(side) for side in sides)
    chosen, rejected = (_reply(context, columns[side], given, transcript=told) for side in ("chosen", "rejected"))
    whole = len(chosen) > 1 or len(rejected) > 1
    prompt = () if whole and not given else _prompt(context, columns["prompt"], given)
    if whole:
        chosen = _after(row, columns["chosen"], prompt, chosen)
        rejected = _after(row, columns["rejected"], prompt, rejected)
        prompt, chosen, rejected = _split(row, columns["chosen"], chosen, rejected)
    for side, reply in (("chosen", chosen), ("rejected", rejected)):
        if reply[-1].role != "assistant":
            row.fail(columns[side], "turns that end with the assistant's", reply[-1].role)
    return PreferencePair(
        context.id, prompt, chosen, rejected, context.source, _margin(row), license=context.settings.license
    )


def _feedback(context: _Context) -> Feedback:
    row, columns = context.row, context.columns
    given = row.values.get(columns["prompt"])
    reply = _reply(context, columns["completion"], given)
    prompt = _prompt(context, columns["prompt"], given)
    if reply[-1].role != "assistant":
        row.fail(columns["completion"], "a completion that ends with the assistant's turn", reply[-1].role)
    if context.settings.transcripts and reply[0].role == "user":
        whole = _after(row, columns["completion"], prompt, reply)
        prompt, reply = whole[:-1], whole[-1:]
    label = row.truth(columns["label"], "true (desirable) or false (undesirable)")
    return Feedback(context.id, prompt, reply, label, context.source, context.settings.license)


CONVERTERS: dict[str, Callable[[_Context], Record]] = {
    "messages": _conversation,
    "prompt_response": _prompt_response,
    "alpaca": _alpaca,
    "gsm8k": _gsm8k,
    "text": _text,
    "preference": _preference,
    "feedback": _feedback,
    "rlvr": _rlvr,
}


def _prompt(context: _Context, field: str, given: Any) -> tuple[Message, ...]:
    """A text is one turn of the user, or with `transcripts` a transcript up to the assistant's turn."""
    if not isinstance(given, str):
        return parse_turns(context.row, field, given)
    if not (context.settings.transcripts and is_transcript(given)):
        return (Message("user", given),)
    turns = parse_transcript(context.row, field, given)
    begun = turns[-1].role == "assistant" and not turns[-1].content
    return turns[:-1] if begun and len(turns) > 1 else turns


def _after(row: Row, field: str, prompt: Sequence[Message], turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """A side of a pair as a whole conversation: it has the row's prompt in it, or goes on from it."""
    asked = [(turn.role, turn.content.strip()) for turn in prompt]
    there = [(turn.role, turn.content.strip()) for turn in turns]
    if turns[0].role in ("assistant", "tool"):
        return (*prompt, *turns)
    if any(there[i : i + len(asked)] == asked for i in range(len(there))):
        return turns
    if turns[0].role == "user" and prompt[-1].role in ("system", "assistant"):
        return (*prompt, *turns)
    row.fail(field, "turns that have the row's prompt in them or go on from it with the assistant", turns[0].content)


def _reply(context: _Context, field: str, given: Any, *, transcript: bool = False) -> tuple[Message, ...]:
    """A reply, or a conversation that ends with it.

    Args:
        given: the row's prompt.
        transcript: a text can be nothing else.
    """
    row, value = context.row, context.row.values.get(field)
    if isinstance(value, dict):
        return (parse_turn(row, field, value),)
    if not isinstance(value, str):
        return parse_turns(row, field, value)
    told = context.settings.transcripts
    if (transcript and told is None) or (told and is_transcript(value)):
        return parse_transcript(row, field, value)
    if told is None and isinstance(given, str) and given.strip() and is_transcript(value):
        _check_plain(row, field, given, value)
    return (Message("assistant", value.strip() if told else value),)


def _check_plain(row: Row, field: str, prompt: str, text: str) -> None:
    """A transcript that has the prompt in it, as no reply would, is not learnt as one without being asked.

    Raises:
        RowFault: it has.
    """
    turns = parse_transcript(row, field, text)
    if any(turn.role == "user" and turn.content == prompt.strip() for turn in turns) and turns[0].role == "user":
        row.refuse(
            "transcript",
            f"field {field!r}: a text beside a prompt is one reply, and this one repeats the prompt as a transcript; "
            "set transcripts: true to read turns in it, or transcripts: false to learn it as it stands",
        )


def _split(
    row: Row, field: str, chosen: Sequence[Message], rejected: Sequence[Message]
) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]:
    """Two whole conversations to what they share and how each goes on, which is always by the assistant."""
    shortest = min(len(chosen), len(rejected))
    shared = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest)
    shared = min(shared, shortest - 1)
    while shared > 0 and not (chosen[shared].role == rejected[shared].role == "assistant"):
        shared -= 1
    if shared == 0:
        turn = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest)
        who = chosen[turn].role if turn < len(chosen) else rejected[turn].role if turn < len(rejected) else "none"
        row.refuse(
            "no_shared_prompt",
            f"field {field!r}: expected conversations that share a prompt and go on with the assistant; chosen and "
            f"rejected differ at turn {turn + 1} ({who})",
        )
    return tuple(chosen[:shared]), tuple(chosen[shared:]), tuple(rejected[shared:])


def _margin(row: Row) -> float | None:
    """The row's margin, or its rating of chosen minus that of rejected (F19), where it has them."""
    if (given := row.number("margin")) is not None:
        return given
    for better, worse in RATINGS:
        if row.has(better) and row.has(worse):
            return (row.number(better) or 0.0) - (row.number(worse) or 0.0)
    return None


def _digest(values: Mapping[str, Any]) -> str:
    try:
        written = json.dumps(values, sort_keys=True, default=str)
    except RecursionError:
        # Only a row that is refused is nested so deeply; its id need not tell it from others like it.
        written = json.dumps(sorted(values))
    return hashlib.sha256(written.encode()).hexdigest()[:12]
