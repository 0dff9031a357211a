"""Rows and files that do not fit: what is said of them, and what stands for them among the records."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.dataset import BadRow
from aftertrain.core.errors import DataError
from aftertrain.core.records import Conversation, Message
from aftertrain.plugins.data.row import RowFault

TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
GOOD = {"id": "good", "messages": TALK}

COLUMNS: list[tuple[dict[str, Any], str, str]] = [
    ({"conversations": TALK}, "messages", "the row has: conversations. Write `fields: {messages: conversations}`"),
    ({"mesages": TALK}, "messages", "the row has: mesages. Write `fields: {messages: mesages}`"),
    (
        {"instruction": "add", "input": "1, 2", "output": "3"},
        "messages",
        "the row has: instruction, input, output. These look like rows of the format alpaca: write `format: alpaca`",
    ),
    (
        {"question": "a", "chosen_response": "b", "rejected_response": "c"},
        "preference",
        "the row has: question, chosen_response, rejected_response. Write `fields: {prompt: question, chosen: "
        "chosen_response, rejected: rejected_response}`",
    ),
    (
        {"question": "a", "chosen_response": "b", "rejected_response": "c"},
        "messages",
        "the row has: question, chosen_response, rejected_response. These look like rows of the format preference: "
        "write `format: preference, fields: {prompt: question, chosen: chosen_response, rejected: rejected_response}`",
    ),
    (
        {"prompt": "a", "completion": "b", "label": True},
        "preference",
        "the row has: prompt, completion, label. These look like rows of the format feedback: write `format: feedback`",
    ),
    (
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        "messages",
        "the row has: prompt, chosen, rejected. These look like rows of the format preference: write "
        "`format: preference`",
    ),
    ({"question": "a", "answer": "b"}, "prompt_response", "Write `fields: {prompt: question, response: answer}`"),
    ({"question": "a", "answer": "b #### 2"}, "messages", "write `format: gsm8k`"),
    ({"a": 1, "b": 2}, "messages", "field 'messages' is missing; the row has: a, b"),
]


@pytest.mark.parametrize(("row", "given", "message"), COLUMNS)
def test_missing_columns_are_told_with_the_setting_that_reads_them(
    row: Any, given: str, message: str, dataset: Any, write: Any
) -> None:
    path = write([row])
    with pytest.raises(DataError) as caught:
        list(dataset("jsonl", path=str(path), format=given))
    assert str(caught.value).startswith(f"{path}:1: field")
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(("row", "given", "message"), COLUMNS[:-1])
def test_and_that_setting_does(row: Any, given: str, message: str, dataset: Any, write: Any) -> None:
    """What the message writes between backticks, read as YAML, reads the row."""
    import yaml

    written = message[message.index("`") + 1 : -1]
    # A mapping in braces inside is one more level than `format: a, fields: {…}` has outside.
    settings = {"format": given, **yaml.safe_load("{" + written + "}")}
    assert len(list(dataset("jsonl", path=str(write([row])), **settings))) == 1


WHOLE = json.dumps([GOOD, GOOD])
FILES: list[tuple[bytes, str]] = [
    (json.dumps(GOOD).encode("utf-16"), "the file is UTF-16; save it as UTF-8"),
    (json.dumps(GOOD).encode("utf-16-le"), "the file is UTF-16; save it as UTF-8"),
    (WHOLE.encode(), "looks like a JSON array, not one object a line: write `use: json`"),
    (json.dumps([GOOD], indent=2).encode(), "looks like a JSON array, not one object a line: write `use: json`"),
    (json.dumps(GOOD, indent=2).encode(), "looks like JSON over several lines; one object per line is expected: `jq "),
    (b"prompt,response\na,b\n", "looks like CSV: write `use: csv`"),
    (b"prompt\tresponse\na\tb\n", 'looks like tab-separated columns: write `use: csv, delimiter: "\\t"`'),
    (b"PAR1\x15\x04", "this is a parquet file: write `use: parquet`"),
    (b"\x1f\x8b\x08\x00\x00", "the file is gzipped: give it a name that ends in .jsonl.gz"),
    (b"\nHello\n", "not JSON: Expecting value at column 1"),
]


@pytest.mark.parametrize(("content", "message"), FILES)
def test_a_file_of_another_kind_is_refused_with_the_cure(
    content: bytes, message: str, dataset: Any, tmp_path: Path
) -> None:
    """As a whole, also where bad rows are to be left out."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    line = 2 if content.startswith(b"\n") else 1
    for read in (dataset("jsonl", path=str(path)), dataset("jsonl", path=str(path)).entries()):
        with pytest.raises(DataError) as caught:
            list(read)
        assert str(caught.value).startswith(f"{path}:{line}: {message}")


def test_a_byte_order_mark_is_no_text(dataset: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(GOOD), encoding="utf-8-sig")
    assert len(list(dataset("jsonl", path=str(path)))) == 1


def test_bad_rows_stand_among_the_records(dataset: Any, write: Any) -> None:
    """In their order, with ids that are unique and lead to their lines."""
    path = write([GOOD, "{", {"messages": []}, {**GOOD, "id": "more"}, "{"])
    data = dataset("jsonl", path=str(path))
    found = list(data.entries())
    assert [type(entry) for entry in found] == [Conversation, BadRow, BadRow, Conversation, BadRow]
    assert [entry.reason for entry in found if isinstance(entry, BadRow)] == ["not_json", "no_turns", "not_json"]
    assert found[2].message == "field 'messages': expected a list of turns {role, content}, found an empty list"
    assert len(data) == len({entry.id for entry in found}) == 5
    places = data.where([entry.id for entry in found])
    assert [places[entry.id] for entry in found] == [f"{path}:{number}" for number in range(1, 6)]
    with pytest.raises(DataError, match=f"^{path}:2: not JSON: "):
        list(data)


def test_bad_rows_of_a_mixture_are_its_own(dataset: Any, write: Any) -> None:
    """They take part in the draw and are found in their files; what nothing reads is told of each part."""
    parts = [write([GOOD, "{"], "a.jsonl"), write([{**GOOD, "id": "b", "n": 1}, {"messages": 1}], "b.jsonl")]
    data = dataset("mixture", parts=[{"data": {"use": "jsonl", "path": str(path)}, "rows": 2} for path in parts])
    bad = [entry for entry in data.entries() if isinstance(entry, BadRow)]
    assert sorted(entry.reason for entry in bad) == ["not_json", "wrong_value"]
    assert sorted(data.where([entry.id for entry in bad]).values()) == [f"{path}:2" for path in parts]
    assert data.notes() == ["parts[1]: columns not read: n"]
    with pytest.raises(DataError, match=f"^{parts[0]}:2: not JSON"):
        list(data)


def test_rows_of_tables_that_do_not_fit(dataset: Any, tmp_path: Path) -> None:
    """A CSV line of too many values; an entry of an array that is no object."""
    lines, array = tmp_path / "rows.csv", tmp_path / "rows.json"
    lines.write_text('prompt,response\nWhy?,"So, because"\none,two,three\n')
    array.write_text(json.dumps([{"prompt": "Why?", "response": "So, because"}, 3]))
    for use, path, reason, message in (
        ("csv", lines, "wrong_columns", "expected 2 values, found 3"),
        ("json", array, "not_an_object", "expected an object, found the number 3"),
    ):
        good, bad = dataset(use, path=str(path), format="prompt_response").entries()
        assert good.messages[1].content == "So, because"
        assert (bad.reason, bad.message) == (reason, message)


def test_tab_separated_columns(dataset: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("prompt\tresponse\nWhy, sir?\tBecause\n")
    (record,) = dataset("csv", path=str(path), format="prompt_response", delimiter="\t")
    assert record.messages == (Message("user", "Why, sir?"), Message("assistant", "Because"))


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"instruction": "Add.", "input": "1, 2", "output": "3"}, "Add.\n\n1, 2"),
        ({"instruction": "Add.", "input": "", "output": "3"}, "Add."),
        ({"instruction": "Add.", "output": "3"}, "Add."),
    ],
)
def test_alpaca(row: Any, asked: str, dataset: Any, write: Any) -> None:
    (record,) = dataset("jsonl", path=str(write([{"id": "a", **row}])), format="alpaca")
    assert record == Conversation("a", (Message("user", asked), Message("assistant", "3")), "rows")


def test_prompts_that_differ_are_told_by_turn(dataset: Any, write: Any) -> None:
    other = [{"role": "user", "content": "Hello"}, TALK[1]]
    path = write([{"chosen": TALK, "rejected": other}])
    with pytest.raises(DataError, match=r"chosen and rejected differ at turn 1 \(user\)$"):
        list(dataset("jsonl", path=str(path), format="preference"))


def test_a_fault_survives_the_way_between_processes() -> None:
    fault = pickle.loads(pickle.dumps(RowFault("a:1", "no_turns", "nothing")))
    assert (str(fault), fault.reason, fault.message) == ("a:1: nothing", "no_turns", "nothing")


HALF = "\ud83d"
TEXTS: list[tuple[dict[str, Any], str]] = [
    ({"messages": [TALK[0], {"role": "assistant", "content": f"Ho {HALF}"}]}, "messages[1].content"),
    ({**GOOD, "id": HALF}, "id"),
    ({**GOOD, "meta": {"tags": ["fine", HALF]}}, "meta.tags[1]"),
    ({**GOOD, "meta": {HALF: 1}}, "meta.\\ud83d"),
    ({**GOOD, "tools": json.dumps([{"name": "f", "description": HALF}])}, "tools[0].description"),
]


@pytest.mark.parametrize(("row", "field"), TEXTS)
def test_half_a_surrogate_pair_is_no_text(row: Any, field: str, dataset: Any, write: Any) -> None:
    """Valid JSON that no tokenizer takes and no table holds; also where it stands within a text of JSON."""
    path = write([GOOD, row])
    data = dataset("jsonl", path=str(path))
    good, bad = data.entries()
    assert isinstance(good, Conversation)
    assert (bad.reason, bad.message) == (
        "not_unicode",
        f"field '{field}': expected Unicode text, found half of a surrogate pair (\\ud83d); write the character "
        "whole, take it out, or put \\ufffd in its place",
    )
    assert (bad.id + bad.message).encode()
    assert data.where([bad.id]) == {bad.id: f"{path}:2"}
    with pytest.raises(DataError, match=f"^{path}:2: field "):
        list(data)


def test_pairs_of_surrogates_are_text(dataset: Any, write: Any) -> None:
    (record,) = dataset("jsonl", path=str(write([{**GOOD, "id": "\ud83d\ude00"}])))
    assert record.id == "\U0001f600"


def test_what_is_said_of_half_a_pair_can_be_printed(dataset: Any, write: Any) -> None:
    """Of a line that holds no object, and of the name of a column that nothing reads."""
    data = dataset("jsonl", path=str(write([{**GOOD, HALF: 1}, [HALF]])))
    assert list(data.entries())[1].message == 'expected a JSON object, found a list ["\\ud83d"]'
    assert data.notes() == ["columns not read: messages, \\ud83d"]


@pytest.mark.parametrize(
    ("written", "label"),
    [("true", True), ("False", False), ("TRUE", True), ("1", True), ("0", False), (" false", False)],
)
def test_labels_in_csv(written: str, label: bool, dataset: Any, tmp_path: Path) -> None:
    """All values of CSV are texts, so that a label can only be one; bool("False") would be true."""
    path = tmp_path / "rows.csv"
    path.write_text(f"prompt,completion,label\nWhy?,Because,{written}\n")
    (record,) = dataset("csv", path=str(path), format="feedback")
    assert record.desirable is label


@pytest.mark.parametrize(
    ("columns", "values", "margin"),
    [
        ("margin", "1.5", 1.5),
        ("margin", "", None),
        ("margin,chosen_rating,rejected_rating", ",4.5,2", 2.5),
        ("score_chosen,score_rejected", "-1e1,2", -12.0),
        ("score_chosen,score_rejected", "3,", None),
    ],
)
def test_numbers_in_csv(columns: str, values: str, margin: float | None, dataset: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"prompt,chosen,rejected,{columns}\nWhy?,a,b,{values}\n")
    (record,) = dataset("csv", path=str(path), format="preference")
    assert record.margin == margin


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        (
            "prompt,completion,label\nWhy?,a,yes\n",
            "feedback",
            "field 'label': expected true (desirable) or false (undesirable), found the text 'yes'",
        ),
        (
            "prompt,chosen,rejected,margin\nWhy?,a,b,much\n",
            "preference",
            "field 'margin': expected a number, found the text 'much'",
        ),
        (
            "prompt,chosen,rejected,score_chosen,score_rejected\nWhy?,a,b,1_000,2\n",
            "preference",
            "field 'score_chosen': expected a number, found the text '1_000'",
        ),
    ],
)
def test_other_texts_in_csv(text: str, given: str, message: str, dataset: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    (bad,) = dataset("csv", path=str(path), format=given).entries()
    assert (bad.reason, bad.message) == ("wrong_value", message)


def test_a_label_that_is_a_text_is_none_elsewhere(dataset: Any, write: Any) -> None:
    """Where a file can hold true and false, a text may mean anything."""
    path = write([{"prompt": "Why?", "completion": "a", "label": "true"}])
    (bad,) = dataset("jsonl", path=str(path), format="feedback").entries()
    assert bad.message == "field 'label': expected true (desirable) or false (undesirable), found the text 'true'"


@pytest.mark.parametrize(
    "margin", ["1.5", "", True, [1.5], float("nan"), float("inf"), 10**400], ids=lambda margin: repr(margin)[:4]
)
def test_a_margin_that_is_no_finite_number_is_told(margin: Any, dataset: Any, write: Any) -> None:
    """It was passed over, and the pair learnt with the margin of its ratings or none."""
    pair = {"prompt": "Why?", "chosen": "a", "rejected": "b", "score_chosen": 3, "score_rejected": 1}
    path = write([{**pair, "margin": None}, {**pair, "margin": margin}])
    good, bad = dataset("jsonl", path=str(path), format="preference").entries()
    assert good.margin == 2.0
    assert bad.reason == "wrong_value"
    assert bad.message.startswith("field 'margin': expected a ")


LONG = '{"messages": [], "n": ' + "9" * 5000 + "}"
DEEP = '{"messages": [], "n": ' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.mark.parametrize(("line", "message"), [(LONG, "a whole number of more than 4,300 digits"), (DEEP, "too many")])
def test_json_beyond_all_measure(line: str, message: str, dataset: Any, write: Any) -> None:
    """A bad row among lines, and an error of a whole array, but never a traceback."""
    good, bad = dataset("jsonl", path=str(write([GOOD, line]))).entries()
    assert isinstance(good, Conversation)
    assert bad.reason == "not_json"
    assert bad.message.startswith(f"not JSON that can be read: {message}")
    assert len(bad.message) < 200
    path = write([f"[{line}]"], "rows.json")
    with pytest.raises(DataError, match=f"^{path}:row 1: .*(4300 digits|too many brackets)"):
        list(dataset("json", path=str(path)))


def test_brackets_that_are_read_but_not_written_again(dataset: Any, write: Any) -> None:
    """Just below the depth at which reading gives up, what looks at the row afterwards does."""
    rows = [f'{{"messages": {json.dumps(TALK)}, "n": {"[" * depth}{"]" * depth}}}' for depth in range(500, 1000)]
    entries = list(dataset("jsonl", path=str(write([GOOD, *rows]))).entries())
    assert {entry.reason for entry in entries if isinstance(entry, BadRow)} == {"not_json"}
    assert isinstance(entries[1], Conversation)


def test_calls_beyond_all_measure(dataset: Any, write: Any) -> None:
    """Texts of JSON within a row are read too."""
    call = {"function": {"name": "f", "arguments": "[" * 100_000}}
    path = write([{"messages": [TALK[0], {"role": "assistant", "tool_calls": [call]}]}])
    (bad,) = dataset("jsonl", path=str(path)).entries()
    assert bad.message.startswith(
        "field 'messages[1].tool_calls[0].arguments': expected JSON without too many brackets"
    )


@pytest.mark.parametrize(
    ("header", "named"), [("prompt,response,prompt", "'prompt'"), ("prompt,response,,n,,n", "'', 'n'")]
)
def test_columns_of_one_name(header: str, named: str, dataset: Any, tmp_path: Path) -> None:
    """The last of them was read, and the others not, without a word."""
    path = tmp_path / "rows.csv"
    path.write_text(f"{header}\n" + ",".join("abcdef"[: header.count(",") + 1]) + "\n")
    data = dataset("csv", path=str(path), format="prompt_response")
    for read in (data, data.entries()):
        with pytest.raises(DataError, match=f"^{path}:1: several columns have one name: {named}; give each its own"):
            list(read)


WORDS = "word and " * (5 * 2**20 // 9)


def long_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def long_gzip(path: Path, rows: list[dict[str, Any]]) -> None:
    import gzip

    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), 1))


def long_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow.parquet import write_table

    write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    ("use", "name", "make", "place"),
    [
        ("jsonl", "r.jsonl", long_jsonl, ":2"),
        ("jsonl", "r.jsonl.gz", long_gzip, ":2"),
        ("parquet", "r.parquet", long_parquet, ":row 2"),
    ],
)
def test_a_row_of_megabytes_is_unusable(
    use: str, name: str, make: Any, place: str, dataset: Any, tmp_path: Path
) -> None:
    """Rows of hundreds of megabytes took the machine's memory, and minutes; the others are read."""
    path = tmp_path / name
    make(path, [{"text": "a"}, {"text": WORDS}, {"text": "b"}])
    data = dataset(use, path=str(path), format="text")
    first, bad, last = data.entries()
    assert (first.text, bad.reason, last.text) == ("a", "too_large", "b")
    assert bad.message.startswith("more than 4 MiB in one row; divide its text among several rows")
    assert data.where([bad.id]) == {bad.id: f"{path}{place}"}
    with pytest.raises(DataError, match=f"{name}{place}: more than 4 MiB in one row"):
        list(data)


@pytest.mark.parametrize(
    ("use", "text", "message"),
    [
        ("csv", f'text\na\n"{WORDS}"\n', r":2: cannot be read as CSV: more than 4 MiB in one row"),
        ("csv", 'text\na\n"' + "word and\n" * (5 * 2**20 // 9) + '"\n', r"cannot be read as CSV: field larger"),
        ("json", json.dumps([{"text": "a"}, {"text": WORDS + WORDS}]), r":row 2: cannot be read .*more than 4 MiB"),
        ("json", json.dumps([{"text": "a"}, {"text": WORDS}]), r":row 2: more than 4 MiB in one row"),
        ("jsonl", "\0" * (2**23), r":1: the file is UTF-16|more than 4 MiB"),
        ("jsonl", json.dumps([{"text": WORDS}]), r"looks like a JSON array"),
        ("json", "[" * 2**23, r"too many brackets"),
        ("json", "[" + "9" * 2**23, r"cannot be read as JSON"),
    ],
)  # fmt: skip
def test_files_of_endless_rows_are_told_of(use: str, text: str, message: str, dataset: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        list(dataset(use, path=str(path), format="text"))


@pytest.mark.parametrize("chunk", [1, 2, 7, 10**6])
def test_an_array_is_read_in_chunks_of_any_size(
    chunk: int, dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aftertrain.plugins.data.json_array.CHUNK", chunk)
    rows = [{"text": 'a"b\\ é]},[{'}, {"text": "b", "n": [1, {"c": -1.5e3}]}, {"text": ""}]
    path = tmp_path / "rows.json"
    for written in (
        json.dumps(rows),
        json.dumps(rows, indent=2, ensure_ascii=False),
        f"\ufeff \n{json.dumps(rows)}\n ",
    ):
        path.write_text(written, encoding="utf-8")
        assert [record.text for record in dataset("json", path=str(path), format="text")] == [
            row["text"] for row in rows
        ]
    for broken, message in (
        ('[{"text": "a"} {"text": "b"}]', "row 1: cannot be read as JSON: expected ',' or ']'"),
        ('[{"text": "a"}, ', "row 2: cannot be read as JSON"),
        ('[{"text": "a"}', "row 1: cannot be read as JSON: the file ends within the array"),
        ('[{"text": "a"},]', "row 2: cannot be read as JSON"),
        ('[{"text": "a"}] x', "there is more after the array"),
        ('{"text": "a"}', "expected an array of objects, found an object"),
        ("", "cannot be read as JSON"),
        ("12345", "expected an array of objects, found the number 12345"),
        ("[]", "the data set is empty"),
    ):
        path.write_text(broken)
        with pytest.raises(DataError) as caught:
            list(dataset("json", path=str(path), format="text"))
        assert message in str(caught.value)
