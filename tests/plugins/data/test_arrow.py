"""Rows of parquet and of `datasets`, made by columns, are those that are made one by one."""

from __future__ import annotations

import datetime
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from pyarrow.parquet import write_table

from aftertrain.core.dataset import BadRow
from aftertrain.core.errors import DataError
from aftertrain.plugins.data.arrow import parts_of, rows_of, values_of
from aftertrain.plugins.data.hub import Hub
from aftertrain.plugins.data.row import LONGEST

TURN = {"role": "user", "content": "2 + 3 = ?\n\u0007é"}
NESTED: list[dict[str, Any]] = [
    {"id": "a", "turns": [TURN, {"role": None, "content": ""}], "n": 1, "x": 0.1, "tags": [["a"], [], None]},
    {"id": None, "turns": [], "n": None, "x": None, "tags": None},
    {"id": "\U0001f600", "turns": None, "n": -(2**63), "x": float("nan"), "tags": []},
    {"id": "b", "turns": [TURN], "n": 2**62, "x": -1e-300, "tags": [[None, "b"]]},
]
MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 1, 5)
OTHERS = [{"when": MOMENT, "bytes": b"\xff", "about": {"kind": number}} for number in range(4)]


def written(table: Any) -> str:
    """The digest as it is defined: row by row."""
    lines = [json.dumps(row, sort_keys=True, default=str).encode() + b"\n" for row in table]
    return hashlib.sha256(b"".join(lines)).hexdigest()


def saved(table: datasets.Dataset, folder: Path) -> datasets.Dataset:
    datasets.disable_progress_bars()
    table.save_to_disk(str(folder))
    return datasets.load_from_disk(str(folder))  # type: ignore[return-value]


def tables() -> dict[str, datasets.Dataset]:
    nested, others = datasets.Dataset.from_list(NESTED), datasets.Dataset.from_list(OTHERS)
    label = datasets.ClassLabel(names=["no", "yes"])
    lists = datasets.Features(
        {"labels": datasets.LargeList(label), "label": label, "big": datasets.Value("large_string")}
    )
    labels = datasets.Dataset.from_list([{"labels": [0, 1], "label": i % 2, "big": "x" * i} for i in range(5)], lists)
    return {
        "nested": nested,
        "others": datasets.concatenate_datasets([nested, others], axis=1),
        "labels": labels,
        "many": datasets.Dataset.from_list([{"id": f"r{i}", "turns": [TURN] * (i % 3)} for i in range(2_345)]),
    }


@pytest.mark.parametrize("name", tables())
def test_rows_and_digest_are_those_of_iteration(name: str, dataset: Callable[..., Hub], tmp_path: Path) -> None:
    table = saved(tables()[name], tmp_path / "ds")
    data = dataset("hub", path=str(tmp_path / "ds"))
    assert repr([dict(row.values) for row in data.rows()]) == repr(list(table))
    assert [row.where for row in data.rows()] == [f"{tmp_path}/ds:train:row {i}" for i in range(1, len(table) + 1)]
    assert data.stored() == written(table)


@pytest.mark.parametrize("split", ["train[1:3]", "train[2:]+train[:1]"])
def test_slices_of_a_split(split: str, dataset: Callable[..., Hub], tmp_path: Path) -> None:
    table = saved(tables()["nested"], tmp_path / "ds")
    chosen = list(table)[1:3] if split == "train[1:3]" else [*list(table)[2:], *list(table)[:1]]
    data = dataset("hub", path=str(tmp_path / "ds"), split=split)
    assert repr([dict(row.values) for row in data.rows()]) == repr(chosen)
    assert data.stored() == written(chosen)


@pytest.mark.parametrize("name", ["nested", "many"])
def test_tables_with_indices(name: str, dataset: Callable[..., Hub], tmp_path: Path) -> None:
    """As of a part of `train[…]` of several, which are chosen, shuffled or filtered."""
    table = saved(tables()[name], tmp_path / "ds")
    for chosen in (
        table.shuffle(seed=1),
        table.select([2, 0, 2]),
        table.filter(lambda row: row["id"] != "a"),
        table.select(range(0)),
    ):
        data = dataset("hub", path=str(tmp_path / "ds"))
        data.__dict__["_table"] = chosen
        assert repr([dict(row.values) for row in data.rows()]) == repr(list(chosen))
        assert data.stored() == written(chosen)


def test_what_must_be_decoded_is_read_row_by_row(dataset: Callable[..., Hub], tmp_path: Path) -> None:
    features = datasets.Features({"grid": datasets.Array2D((2, 2), "int32"), "id": datasets.Value("string")})
    rows = [{"grid": [[i, 1], [2, 3]], "id": str(i)} for i in range(3)]
    table = saved(datasets.Dataset.from_list(rows, features), tmp_path / "ds")
    data = dataset("hub", path=str(tmp_path / "ds"))
    assert [dict(row.values) for row in data.rows()] == rows
    assert not any(row.plain for row in data.rows())
    assert data.stored() == written(table)


def test_a_table_saved_in_a_format_is_read_in_it(dataset: Callable[..., Hub], tmp_path: Path) -> None:
    table = tables()["nested"]
    table.set_format(None, columns=["id"])
    table = saved(table, tmp_path / "ds")
    data = dataset("hub", path=str(tmp_path / "ds"))
    assert [dict(row.values) for row in data.rows()] == list(table) == [{"id": row["id"]} for row in NESTED]
    assert data.stored() == written(table)


def test_the_digest_follows_what_is_stored(dataset: Callable[..., Hub], tmp_path: Path) -> None:
    """One is kept for the process, and never where the files may be others."""
    digests = []
    for number in (1, 2, 3):
        saved(datasets.Dataset.from_list([{"id": str(number)}]), tmp_path / "ds")
        digests.append(dataset("hub", path=str(tmp_path / "ds")).stored())
        assert digests[-1] == written([{"id": str(number)}])
    assert len(set(digests)) == 3


def test_the_digest_of_a_table_is_computed_once(
    dataset: Callable[..., Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tables()["many"], tmp_path / "ds")
    data = dataset("hub", path=str(tmp_path / "ds"))
    digest = data.stored()
    monkeypatch.setattr(Hub, "rows", lambda self: pytest.fail("it was read again"))
    assert data.stored() == dataset("hub", path=str(tmp_path / "ds")).stored() == digest


def test_values_are_those_of_arrow() -> None:
    """Of slices too, and of types that have no way of their own."""
    columns = {name: [row[name] for row in NESTED] for name in NESTED[0]} | {
        "map": pa.array([[("a", 1)], [], None, [("b", 2), ("c", None)]], pa.map_(pa.string(), pa.int8())),
        "fixed": pa.array([[1, 2], None, [3, 4], [5, 6]], pa.list_(pa.int16(), 2)),
        "dictionary": pa.array(["a", "b", "a", None]).dictionary_encode(),
        "empty": pa.array([{}, None, {}, {}], pa.struct([])),
        "nothing": pa.nulls(4),
        "flags": pa.array([[{"a": True}], [{"a": None}, None], [], []]),
        "view": pa.array(["a", None, "", "é"], pa.string_view()),
    }
    batch = pa.record_batch(columns)
    for start in range(4):
        for length in range(5 - start):
            part = batch.slice(start, length)
            assert repr(values_of(part)) == repr(part.to_pylist())


def test_a_text_that_is_not_utf_8_is_told_of(dataset: Any, tmp_path: Path) -> None:
    texts = pa.array([b"a", b"\xff"], pa.binary()).view(pa.string())
    with pytest.raises(UnicodeDecodeError):
        values_of(pa.record_batch([texts], ["text"]))
    write_table(pa.table([texts], ["text"]), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="cannot be read as parquet: 'utf-8' codec"):
        list(dataset("parquet", path=str(tmp_path / "rows.parquet"), format="text"))


def json_bytes(values: Any) -> int:
    return len(json.dumps(values, ensure_ascii=False, default=str).encode())


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("a", True),
        ("\u0001" * (LONGEST // 6 - 1000), True),
        ("\u0001" * (LONGEST // 6 + 1000), False),
        ([{"n" * 200: None}] * (LONGEST // 100), False),
        ([1.0] * 1000, True),
        (datetime.datetime(2024, 1, 1), False),
    ],
)
def test_plain_rows_are_within_the_limit(value: Any, plain: bool) -> None:
    """What is called plain is not looked at again: its JSON must have at most `LONGEST` bytes."""
    batch = pa.RecordBatch.from_pylist([{"value": value}])
    (row,) = rows_of(batch, "x", 1)
    assert row.plain is plain
    assert not plain or json_bytes(row.values) <= LONGEST


def test_rows_nested_deeply_are_not_plain() -> None:
    value: Any = "a"
    for _ in range(250):
        value = [value]
    assert not next(rows_of(pa.RecordBatch.from_pylist([{"value": value}]), "x", 1)).plain


def test_parts_hold_what_may_be_made_at_once() -> None:
    rng = random.Random(0)
    texts = ["x" * rng.choice([10, 1000, 300_000, LONGEST]) for _ in range(60)]
    batch = pa.record_batch({"text": texts, "time": [datetime.datetime(2024, 1, 1)] * 60})
    for kind in (batch, batch.select(["text"])):
        parts = list(parts_of(kind))
        assert pa.Table.from_batches(parts).equals(pa.Table.from_batches([kind]))
        assert all(part.nbytes <= LONGEST or part.num_rows == 1 for part in parts)
        assert len(parts) < 60
    assert list(parts_of(batch.slice(0, 0))) == [batch.slice(0, 0)]


@pytest.mark.parametrize("use", ["parquet", "hub"])
def test_a_survey_sees_what_reading_all_sees(use: str, dataset: Any, tmp_path: Path) -> None:
    """With a row that is too large, as bad as before, and rows that make none."""
    rng, said = random.Random(1), {"role": "assistant", "content": "5"}
    rows = [{"id": rng.choice("abc"), "messages": rng.choice([[TURN, said], [TURN], []])} for _ in range(60)]
    rows.insert(30, {"id": "long", "messages": [{**TURN, "content": "x" * (LONGEST + 1)}, said]})
    path = tmp_path / "rows"
    if use == "hub":
        saved(datasets.Dataset.from_list(rows), path)
    else:
        write_table(pa.Table.from_pylist(rows), path)
    data = dataset(use, path=str(path))
    whole, survey = list(data.entries()), list(data.survey(lambda number: number % 4 == 0))
    assert len(survey) == len(whole) == 61
    for number, (entry, seen) in enumerate(zip(whole, survey, strict=True)):
        assert seen == (entry if number % 4 == 0 or isinstance(entry, BadRow) else None)
    assert sum(seen is None for seen in survey) > 10
    assert whole[30].reason == "too_large"
    assert (whole[30].id == "long") is (use == "hub")
