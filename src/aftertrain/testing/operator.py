"""What an operator promises: a row's fate is its own, told whole, and the same wherever and beside whatever it is."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aftertrain.core.errors import AftertrainError, DataError
from aftertrain.core.ground.cleaning import clean
from aftertrain.core.operator import RECORDS, Dropped, Operator, Row
from aftertrain.core.records import (
    Check,
    Conversation,
    Document,
    Feedback,
    Message,
    PreferencePair,
    Problem,
    Record,
    ToolCall,
)
from aftertrain.core.rows.chain import through
from aftertrain.core.rows.columns import from_columns, to_columns
from aftertrain.testing.fresh import in_child
from aftertrain.testing.promise import BrokenPromise, Subject, Unchecked, require
from aftertrain.testing.verifier import HOSTILE

SEED = 7
PATIENCE = 30.0
"""Seconds without a sign of life in a row, generous for a busy machine."""
FACTS: Mapping[str, Any] = {"kit.place": 0}
"""What each row has found already: an example of an operator that reads facts may name it."""
TEXTS = (
    "What is the capital of France?",
    "It is Paris.",
    "Write a poem about the sea, in two lines.",
    "The sea is wide, the sea is deep,\nit rocks the sailors into sleep.",
    "What is 17 * 23? Think step by step.",
    "17 * 23 = 17 * 20 + 17 * 3 = 340 + 51 = 391",
    "def add(a, b):\n    return a + b",
    "Was ist die Hauptstadt von Österreich? Wien.",
    "日本の首都はどこですか。東京です。",
    "I'm sorry, but I cannot help with that.",
    "",
    "yes yes yes yes yes yes yes yes yes yes yes yes",
    "It is Paris.",
)
"""Texts as data sets hold them, an empty one and two that are equal among them."""


def it_gives_the_records_that_it_says(subject: Subject) -> None:
    """`takes` names record types, and what comes out is of the type that `gives` says for the one that went in."""
    operator = _ready(subject)
    require(operator.takes, "it takes no record type")
    require(operator.takes <= set(RECORDS), f"it takes {sorted(operator.takes - set(RECORDS))}, no record types")
    for taken, rows in _plain(operator).items():
        said = operator.gives(RECORDS[taken])
        for result in _learnt(subject, rows, taken).apply(rows, SEED):
            if isinstance(result, Row):
                given = type(result.record)
                require(given is said, f"of {taken} it says that it makes {said.__name__}, and makes {given.__name__}")


def no_row_is_lost(subject: Subject) -> None:
    """Each row comes out, as it was or changed, or dropped for a reason, or what is made of it names it in `origin`."""
    for taken, rows in _plain(_ready(subject)).items():
        _account(_learnt(subject, rows, taken), rows)


def it_finds_the_facts_that_it_names(subject: Subject) -> None:
    """Where `finds` or `writes` names facts, a row gets no other: a plan refuses those that nobody names."""
    for taken, rows in _plain(_ready(subject)).items():
        operator = _learnt(subject, rows, taken)
        said = operator.writes(RECORDS[taken])
        if said is None:
            continue
        for row in through(rows, [("tried", operator)], SEED).rows:
            odd = sorted({name.removeprefix("tried.") for name in row.facts if name.startswith("tried.")} - set(said))
            require(not odd, f"of a {taken} it names the facts {sorted(said)}, and finds {odd}")


def neighbours_change_nothing(subject: Subject) -> None:
    """What becomes of a row is the same alone, among others, in another order, and when it is done again."""
    for taken, rows in _plain(_ready(subject)).items():
        operator = _learnt(subject, rows, taken)
        together = _fates(operator, rows)
        for words, others in (
            ("done again", _fates(operator, rows)),
            ("by a new instance", _fates(_recalled(subject, taken), rows)),
            ("in the other order", _fates(operator, rows[::-1])),
            ("alone", {id: fate for row in rows for id, fate in _fates(operator, [row]).items()}),
        ):
            odd = next((id for id in together if others.get(id) != together[id]), None)
            if odd is not None:
                raise BrokenPromise(
                    f"row {odd!r} ends otherwise {words}: {others.get(odd)!r:.300}, and at first "
                    f"{together[odd]!r:.300}; draw from row.random(seed), and keep nothing from row to row"
                )


def rows_are_left_as_they_are(subject: Subject) -> None:
    """The rows that go in are not changed: what is found is added to new ones, with `row.with_facts`."""
    for taken, rows in _plain(_ready(subject)).items():
        operator, before = _learnt(subject, rows, taken), pickle.dumps([to_columns(row) for row in rows])
        list(operator.apply(rows, SEED))
        require(pickle.dumps([to_columns(row) for row in rows]) == before, "it changes the rows that it is given")


def it_is_the_same_in_another_process(subject: Subject) -> None:
    """A new process, with another hash seed, does the same to the same rows; so does the fingerprint."""
    operator = _ready(subject)
    print_ = operator.fingerprint()
    require(re.fullmatch(r"([0-9a-f]{16,})?", print_), f"the fingerprint {print_!r} is no hex digest, and not empty")
    plain = _plain(operator)
    ours = {taken: _fates(_learnt(subject, rows, taken), rows) for taken, rows in plain.items()}
    asked = (operator, subject.folder, plain)
    theirs, their_print = in_child(_there, asked, patience=PATIENCE, doing="working on plain rows")
    require(their_print == print_, f"a new process finds the fingerprint {their_print!r}, this one {print_!r}")
    for taken, fates in ours.items():
        for id, fate in fates.items():
            other = theirs[taken].get(id)
            require(other == fate, f"row {id!r} ends as {fate!r:.300}, in a new process as {other!r:.300}")


def hostile_rows_are_taken_in_time(subject: Subject) -> None:
    """Texts that are empty, huge, deeply nested or odd, in every record type: none makes it raise, hang or lose one."""
    operator = _ready(subject)
    hostile = {taken: [*_rows(taken, [clean(text) for text in HOSTILE]), *_odd(taken)] for taken in operator.takes}
    for taken, rows in hostile.items():
        _learnt(subject, rows, taken)
    in_child(_hostile, (operator, subject.folder, hostile), patience=PATIENCE, doing="rows of odd texts")


Asked = tuple[Operator[Any], Path, Mapping[str, list[Row]]]
"""An operator, the folder in which lies what it learnt, and rows by their record type: one process for all of them."""


def _hostile(asked: Asked, tell: Callable[[str], None]) -> None:
    for taken, operator, rows in _recalled_there(asked):
        for row in rows:
            tell(f"a {taken}, row {row.id!r} ({row.text[:40]!r}, {len(row.text):,} characters)")
            _account(operator, [row])


def _there(asked: Asked, tell: Callable[[str], None]) -> tuple[dict[str, dict[str, Any]], str]:
    tell("working on plain rows in a new process")
    found = {taken: _fates(operator, rows) for taken, operator, rows in _recalled_there(asked)}
    return found, asked[0].fingerprint()


def _recalled_there(asked: Asked) -> Iterator[tuple[str, Operator[Any], list[Row]]]:
    operator, folder, by_type = asked
    for taken, rows in by_type.items():
        if operator.learns:
            operator.recall(_state(folder, taken))
        yield taken, operator, rows


def _account(operator: Operator[Any], rows: Sequence[Row]) -> None:
    """Rows through the operator as in a stage; each has its end, and what comes out can be written and read again."""
    try:
        outcome = through(rows, [("tried", operator)], SEED)
    except DataError as error:
        raise BrokenPromise(str(error).replace("operator 'tried'", "it")) from error
    for row in outcome.rows:
        again = from_columns(json.loads(json.dumps(to_columns(row))), type(row.record).__name__, row.id)
        require(again == row, f"row {row.id!r} is read as {again!r:.300}, and was written as {row!r:.300}")


def _fates(operator: Operator[Any], rows: Sequence[Row]) -> dict[str, list[Any]]:
    """By the row that it comes from: what came out."""
    fates: dict[str, list[Any]] = {row.id: [] for row in rows}
    for result in operator.apply(rows, SEED):
        if isinstance(result, Dropped):
            told = ("dropped", result.reason, json.dumps(dict(result.evidence), sort_keys=True))
            fates.setdefault(result.row.id, []).append(told)
        else:
            root = result.id if result.id in fates else (*result.origin, "")[0]
            fates.setdefault(root, []).append(json.dumps(to_columns(result)))
    return fates


def _ready(subject: Subject) -> Operator[Any]:
    operator: Operator[Any] = subject.component()
    try:
        operator.check()
    except AftertrainError as error:
        raise Unchecked(f"its example cannot work here: {error}") from error
    return operator


def _state(folder: Path, taken: str) -> Path:
    return folder / f"learnt-{taken}"


def _learnt(subject: Subject, rows: Sequence[Row], taken: str) -> Operator[Any]:
    """A new operator that has seen these rows, as far as it learns."""
    operator = _ready(subject)
    if not operator.learns:
        return operator
    state = _state(subject.folder, taken)
    state.mkdir(exist_ok=True)
    operator.learn(iter(rows), state, SEED)
    return _recalled(subject, taken)


def _recalled(subject: Subject, taken: str) -> Operator[Any]:
    operator = _ready(subject)
    if operator.learns:
        operator.recall(_state(subject.folder, taken))
    return operator


def _plain(operator: Operator[Any]) -> Mapping[str, list[Row]]:
    return {taken: _rows(taken, TEXTS) for taken in sorted(operator.takes)}


def _rows(taken: str, texts: Sequence[str]) -> list[Row]:
    """A row for each text, the next one as the reply to it."""
    pairs = zip(texts, [*texts[1:], texts[0]], strict=True)
    return [
        Row(_record(taken, f"kit-{i}", text, after), {**FACTS, "kit.place": i}) for i, (text, after) in enumerate(pairs)
    ]


def _record(taken: str, id: str, text: str, after: str) -> Record:
    user, reply, other = Message("user", text), Message("assistant", after), Message("assistant", after[::-1])
    records: Mapping[str, Callable[[], Record]] = {
        "Conversation": lambda: Conversation(id, (user, reply), "kit", "MIT"),
        "Document": lambda: Document(id, text, "kit"),
        "Feedback": lambda: Feedback(id, (user,), (reply,), len(text) % 2 == 0, "kit"),
        "PreferencePair": lambda: PreferencePair(id, (user,), (reply,), (other,), "kit", 0.5),
        "Problem": lambda: Problem(id, (user,), (Check("exact", after),), "kit"),
    }
    return records[taken]()


def _odd(taken: str) -> Iterator[Row]:
    """Rows of an odd shape rather than of odd texts."""
    if taken == "Conversation":
        call = ToolCall("add", {"a": [1, {"b": None}]}, "call-1")
        tool = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {}}}
        turns = (
            Message("system", ""),
            Message("user", "1 + 2?"),
            Message("assistant", "", reasoning="I add.", tool_calls=(call,)),
            Message("tool", "3", tool_call_id="call-1", name="add"),
            Message("assistant", "3", learn=False),
        )
        yield Row(Conversation("kit-tools", turns, "kit", tools=(tool,)), FACTS)
        yield Row(Conversation("kit-one", (Message("user", "Alone"),), "kit"), FACTS)
        yield Row(Conversation("kit-long", (Message("user", "a"), Message("assistant", "b")) * 200, "kit"), FACTS)
    elif taken == "Problem":
        checks = (Check("x", {"a": [None, 1.5]}), Check("y", None))
        yield Row(Problem("kit-unchecked", (Message("user", "?"),), (), "kit"), FACTS)
        yield Row(Problem("kit-odd", (Message("user", "?"),), checks, "kit"), FACTS)
    elif taken == "PreferencePair":
        bare = PreferencePair("kit-bare", (), (Message("assistant", "a"),), (Message("assistant", "b"),), "kit")
        yield Row(bare, FACTS)
