"""A row as it is written and read again is the same row, whatever it holds, as JSON lines and as parquet."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aftertrain.core.ground.cleaning import clean
from aftertrain.core.operator import RECORDS, Dropped, Row
from aftertrain.core.records import (
    Check,
    Conversation,
    Document,
    Feedback,
    Message,
    PreferencePair,
    Problem,
    ToolCall,
)
from aftertrain.core.rows.files import Format, read_objects, read_shard, write_lines, write_rows
from aftertrain.core.rows.left_out import left_out, left_out_line

TEXT = st.one_of(
    st.text(max_size=20).map(clean),
    st.sampled_from(["", "\x00", "a\u2028b\u0085c\r\n", '"\\', "NaN", "\ufeff", "𝟜", " "]),
)
NAMES = st.text(min_size=1, max_size=8).map(clean)
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)
CALLS = st.builds(ToolCall, NAMES, st.dictionaries(TEXT, VALUES, max_size=2), st.none() | NAMES)
TURNS = st.lists(
    st.builds(
        Message,
        st.sampled_from(["system", "user", "assistant", "tool"]),
        TEXT,
        st.booleans(),
        TEXT,
        st.lists(CALLS, max_size=2).map(tuple),
        st.none() | NAMES,
        st.none() | NAMES,
    ),
    max_size=3,
).map(tuple)
LICENSES = st.none() | NAMES
TOOLS = st.lists(st.dictionaries(TEXT, VALUES, max_size=2), max_size=2).map(tuple)
CHECKS = st.lists(st.builds(Check, NAMES, VALUES), max_size=2).map(tuple)
RECORD = {
    "Conversation": st.builds(Conversation, NAMES, TURNS, NAMES, LICENSES, TOOLS),
    "Document": st.builds(Document, NAMES, TEXT, NAMES, LICENSES),
    "Feedback": st.builds(Feedback, NAMES, TURNS, TURNS, st.booleans(), NAMES, LICENSES, TOOLS),
    "PreferencePair": st.builds(
        PreferencePair,
        NAMES,
        TURNS,
        TURNS,
        TURNS,
        NAMES,
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        LICENSES,
        TOOLS,
    ),
    "Problem": st.builds(Problem, NAMES, TURNS, CHECKS, NAMES, LICENSES, TOOLS),
}


def rows(kind: str) -> st.SearchStrategy[list[Row]]:
    names = st.lists(NAMES, max_size=2).map(tuple)
    return st.lists(st.builds(Row, RECORD[kind], st.dictionaries(NAMES, VALUES, max_size=3), names, names), max_size=4)


def test_every_record_type_is_tried() -> None:
    assert {*RECORD} == {*RECORDS}


@pytest.mark.parametrize("kind", sorted(RECORDS))
@pytest.mark.parametrize("format", ["jsonl", "parquet"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_rows_are_read_as_they_were_written(kind: str, format: Format, data: st.DataObject) -> None:
    written = data.draw(rows(kind))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"part.{format}"
        assert write_rows(path, written) == len(written)
        assert list(read_shard(path, kind)) == written
        again = Path(folder) / f"again.{format}"
        write_rows(again, written)
        assert again.read_bytes() == path.read_bytes()
        assert len(list(Path(folder).iterdir())) == 2, "no draft is left"


@pytest.mark.parametrize("kind", sorted(RECORDS))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_rows_that_were_left_out_are_read_as_they_were(kind: str, data: st.DataObject) -> None:
    written = [Dropped(row, "why", {"because": row.id, "of": [1, None]}) for row in data.draw(rows(kind))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.jsonl"
        write_lines(path, (left_out_line("op", dropped) for dropped in written))
        read = [left_out(line, "here") for line in read_objects(path)]
    assert [(left.row, left.operator, left.reason, left.evidence) for left in read] == [
        (dropped.row, "op", "why", dropped.evidence) for dropped in written
    ]
