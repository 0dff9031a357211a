"""Rows to records, one function per format. Every error names file, line, field, what was expected and found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aftertrain.core.records import Check, Conversation, Document, Feedback, Message, PreferencePair, Problem, Record
from aftertrain.plugins.data.columns import check_columns
from aftertrain.plugins.data.row import Row, encodable
from aftertrain.plugins.data.settings import TableSettings
from aftertrain.plugins.data.tools import parse_tools
from aftertrain.plugins.data.turns import is_transcript, parse_transcript, parse_turn, parse_turns

RATINGS = (("chosen_rating", "rejected_rating"), ("score_chosen", "score_rejected"))
"""Columns whose difference is a pair's margin."""
SIDES = ("chosen", "rejected")
FINAL_NUMBER = re.compile(r"####\s*(\S.*?)\s*$")


Columns = Mapping[str, str]
Draft = tuple[type[Record], dict[str, Any]]
"""A record's type, and the fields that it has beside id, source, licence and tools."""


def record_of(row: Row, settings: TableSettings, source: str) -> Record:
    """The record of one row.

    Raises:
        RowFault: the row does not fit the format.
    """
    if row.broken is not None:
        row.refuse(*row.broken)
    row.check_unicode("", row.values)
    check_columns(row, settings)
    record_type, fields = CONVERTERS[settings.format](row, settings.columns, settings)
    if tools := parse_tools(row):
        if record_type is Document:
            row.fail("tools", "nothing: no chat template would show them beside a text", row.values.get("tools"))
        fields["tools"] = tools
    name, license = row.origin or (source, settings.license)
    return record_type(id=row_id(row, source), source=name, license=license, **fields)


def row_id(row: Row, source: str) -> str:
    """The row's own id, or one made of the data set's name and the row's content; one that UTF-8 can hold."""
    value = row.values.get("id")
    if row.plain and type(value) is str and value:
        return value
    own = str(value) if isinstance(value, str | int) else ""
    return own if own and encodable(own) == own else f"{source}-{_digest(row.values)}"


def _conversation(row: Row, columns: Columns, settings: TableSettings) -> Draft:
    column = columns["messages"]
    turns = parse_turns(row, column, row.values.get(column))
    if not any(turn.role == "assistant" for turn in turns):
        row.fail(column, "at least one turn of the assistant", row.values[column], reason="no_assistant_turn")
    return Conversation, {"messages": turns}


def _exchange(question: str, answer: str) -> Draft:
    return Conversation, {"messages": (Message("user", question), Message("assistant", answer))}


def _prompt_response(row: Row, columns: Columns, settings: TableSettings) -> Draft:
    return _exchange(row.text(columns["prompt"]), row.text(columns["response"]))


def _alpaca(row: Row, columns: Columns, settings: TableSettings) -> Draft:
    """Instruction and input are one turn of the user, an empty line between them."""
    more = "" if row.values.get(columns["input"]) is None else row.text(columns["input"])
    instruction = row.text(columns["instruction"])
    asked = f"{instruction}\n\n{more}" if more.strip() else instruction
    return _exchange(asked, row.text(columns["output"]))


def _text(row: Row, columns: Columns, settings: TableSettings) -> Draft:
    return Document, {"text": row.text(columns["text"])}


def _gsm8k(row: Row, columns: Columns, settings: TableSettings) -> Draft:
    question, answer = row.text(columns["question"]), row.text(columns["answer"])
    if settings.as_ != "problem":
        return _exchange(question, answer)
    number = FINAL_NUMBER.search(answer)
    if number is None:
        row.fail(columns["answer"], "a last line '#### number'", answer[-60:])
    return _problem((Message("user", question),), Check("gsm8k", number.group(1).replace(",", "")))


def _problem(prompt: tuple[Message, ...], check: Check) -> Draft:
    return Problem, {"prompt": prompt, "checks": (check,)}


def _rlvr(row: Row, columns: Columns, settings: TableSettings) -> Draft:
    prompt = parse_turns(row, columns["messages"], row.values.get(columns["messages"]))
    while prompt and prompt[-1].role == "assistant":
        prompt = prompt[:-1]
    if not prompt:
        row.fail(columns["messages"], "a turn before the assistant's", row.values[columns["messages"]])
    truth = row.values.get(columns["ground_truth"])
    if truth is None:
        row.fail(columns["ground_truth"], "a ground truth", truth)
    tag = row.text(columns["dataset"])
    verifier = settings.verifiers.get(tag)
    if verifier is None:
        known = ", ".join(sorted(settings.verifiers))
        row.fail(columns["dataset"], f"one of {known} (others are named in the setting verifiers)", tag)
    return _problem(prompt, Check(verifier, truth))


def _preference(row: Row, columns: Columns, settings: TableSettings) -> Draft:
    sides = [row.values.get(columns[side]) for side in SIDES]
    asked = row.values.get(columns["prompt"])
    if asked is None and columns["prompt"] not in row.values and not (isinstance(sides[0], list) and len(sides[0]) > 1):
        asked = row.values.get("conversations", row.values.get("messages"))
    # Without a prompt a text can only be a transcript, and where one side is one, both are.
    prompted = asked is not None and (asked != "" or row.has(columns["prompt"]))
    transcript = not prompted and any(isinstance(side, str) and is_transcript(side) for side in sides)
    chosen, rejected = (
        _reply(row, columns[side], asked, settings.transcripts, transcript=transcript)
        for side in ("chosen", "rejected")
    )
    conversations = len(chosen) > 1 or len(rejected) > 1
    prompt = () if conversations and not asked else _prompt(row, columns["prompt"], asked, settings.transcripts)
    if conversations:
        chosen = _after(row, columns["chosen"], prompt, chosen)
        rejected = _after(row, columns["rejected"], prompt, rejected)
        prompt, chosen, rejected = _split(row, columns["chosen"], chosen, rejected)
    for side, reply in zip(SIDES, (chosen, rejected), strict=True):
        if reply[-1].role != "assistant":
            row.fail(columns[side], "turns that end with the assistant's", reply[-1].role)
    return PreferencePair, {"prompt": prompt, "chosen": chosen, "rejected": rejected, "margin": _margin(row)}


def _feedback(row: Row, columns: Columns, settings: TableSettings) -> Draft:
    asked = row.values.get(columns["prompt"])
    reply = _reply(row, columns["completion"], asked, settings.transcripts)
    prompt = _prompt(row, columns["prompt"], asked, settings.transcripts)
    if reply[-1].role != "assistant":
        row.fail(columns["completion"], "a completion that ends with the assistant's turn", reply[-1].role)
    if settings.transcripts and reply[0].role == "user":
        turns = _after(row, columns["completion"], prompt, reply)
        prompt, reply = turns[:-1], turns[-1:]
    label = row.truth(columns["label"], "true (desirable) or false (undesirable)")
    return Feedback, {"prompt": prompt, "reply": reply, "desirable": label}


CONVERTERS: dict[str, Callable[[Row, Columns, TableSettings], Draft]] = {
    "messages": _conversation,
    "prompt_response": _prompt_response,
    "alpaca": _alpaca,
    "gsm8k": _gsm8k,
    "text": _text,
    "preference": _preference,
    "feedback": _feedback,
    "rlvr": _rlvr,
}


def _prompt(row: Row, field: str, asked: Any, transcripts: bool | None) -> tuple[Message, ...]:
    """A text is one turn of the user, or with `transcripts` a transcript up to the assistant's turn."""
    if not isinstance(asked, str):
        return parse_turns(row, field, asked)
    if not (transcripts and is_transcript(asked)):
        return (Message("user", asked),)
    turns = parse_transcript(row, field, asked)
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


def _reply(
    row: Row, field: str, asked: Any, transcripts: bool | None, *, transcript: bool = False
) -> tuple[Message, ...]:
    """A reply, or a conversation that ends with it.

    Args:
        asked: the row's prompt, as it stands there.
        transcripts: the setting.
        transcript: a text can be nothing else.
    """
    value = row.values.get(field)
    if isinstance(value, dict):
        return (parse_turn(row, field, value),)
    if not isinstance(value, str):
        return parse_turns(row, field, value)
    if (transcript and transcripts is None) or (transcripts and is_transcript(value)):
        return parse_transcript(row, field, value)
    if transcripts is None and isinstance(asked, str) and asked.strip() and is_transcript(value):
        _check_plain(row, field, asked, value)
    return (Message("assistant", value.strip() if transcripts else value),)


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
    if (margin := row.number("margin")) is not None:
        return margin
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
