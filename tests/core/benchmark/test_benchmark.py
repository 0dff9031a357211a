"""The one rule by which benchmarks find rows, and the examples before a question."""

from __future__ import annotations

import doctest
import gzip
import json
from pathlib import Path

import pytest

from aftertrain.core.benchmark import Row, Shots, Source, likelihood, rows, shots
from aftertrain.core.benchmark.rows import Ids, read_file
from aftertrain.core.benchmark.shots import drawn
from aftertrain.core.errors import DataError, Unreachable

SOURCE = Source("acme/riddles", "easy", "test")
ROWS = [{"q": "one?", "n": 1}, {"q": "two?", "n": 2}]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "acme" / "riddles" / "easy"
    folder.mkdir(parents=True)
    return folder


def lines(values: list[dict[str, object]]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


@pytest.mark.parametrize("module", [likelihood, rows])
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_one_split_in_three_kinds_of_file(place: Path, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    fields = []
    for name in ("test.jsonl", "test.jsonl.gz", "test.parquet"):
        file = place / name
        if name.endswith("parquet"):
            parquet.write_table(pyarrow.Table.from_pylist(ROWS), file)
        else:
            file.write_bytes(gzip.compress(lines(ROWS).encode()) if name.endswith("gz") else lines(ROWS).encode())
        found = SOURCE.rows("riddles", str(tmp_path))
        fields.append([(row.number, dict(row.fields)) for row in found])
        assert found[1].where in {f"{file}:2", f"{file}:row 2"}
        file.unlink()
    assert fields[0] == fields[1] == fields[2] == [(0, ROWS[0]), (1, ROWS[1])]


def test_two_files_of_one_split_are_refused(place: Path, tmp_path: Path) -> None:
    (place / "test.jsonl").write_text(lines(ROWS))
    (place / "test.jsonl.gz").write_bytes(gzip.compress(lines(ROWS).encode()))
    with pytest.raises(DataError, match="one of them must go"):
        SOURCE.rows("riddles", str(tmp_path))


def test_a_map_names_file_split_and_columns_and_comes_first(place: Path, tmp_path: Path) -> None:
    (place / "test.jsonl").write_text(lines([{"q": "the hub's"}]))
    (tmp_path / "mine-test.jsonl").write_text(lines([{"ask": "mine"}]))
    (tmp_path / "data.yaml").write_text("riddles: {file: 'mine-{split}.jsonl', columns: {q: ask}}\n")
    assert [row.text("q") for row in SOURCE.rows("riddles", str(tmp_path))] == ["mine"]
    assert [row.text("q") for row in SOURCE.rows("another", str(tmp_path))] == ["the hub's"]


def test_a_mapped_file_may_leave_its_ending_out(tmp_path: Path) -> None:
    """Of AGIEval's own files some are packed and some are not."""
    (tmp_path / "data.yaml").write_text("riddles: {file: '{config}'}\n")
    (tmp_path / "easy.jsonl.gz").write_bytes(gzip.compress(lines(ROWS).encode()))
    assert [row.text("q") for row in SOURCE.rows("riddles", str(tmp_path))] == ["one?", "two?"]
    (tmp_path / "easy.jsonl").write_text(lines(ROWS))
    with pytest.raises(DataError, match="one of them must go"):
        SOURCE.rows("riddles", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "riddles: {file: a.jsonl, columns: {q: aks}}",
            "a.jsonl:1: has no column 'aks', which data.yaml names for 'q'; did you",
        ),
        ("riddles: {file: b.jsonl}", "b.jsonl: cannot be read"),
        ("riddles: {file: a.txt}", "must end in .jsonl"),
        ("riddles: {fiel: a.jsonl}", "data.yaml: riddles"),
        ("riddles: [", "data.yaml: is no YAML"),
        ("- a", "data.yaml: "),
        ("&a [*a]", "data.yaml: "),
    ],
)
def test_a_broken_map_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(lines([{"ask": "mine"}]))
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        SOURCE.rows("riddles", str(tmp_path))


def test_what_is_missing_is_told_with_the_nearest(tmp_path: Path) -> None:
    near = tmp_path / "acme" / "riddles" / "easy"
    near.mkdir(parents=True)
    (near / "tests.jsonl").write_text(lines(ROWS))
    expected = (
        "task 'riddles' needs acme/riddles/easy/test.jsonl, .jsonl.gz or .parquet there, or 'riddles' in data.yaml"
    )
    with pytest.raises(DataError, match=expected + "; did you mean acme/riddles/easy/tests for it"):
        SOURCE.rows("riddles", str(tmp_path))
    with pytest.raises(DataError, match="there is no such folder of benchmarks"):
        SOURCE.rows("riddles", str(tmp_path / "nowhere"))
    (near / "test.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no rows"):
        SOURCE.rows("riddles", str(tmp_path))


def test_offline_the_error_says_how_to_give_rows() -> None:
    with pytest.raises(Unreachable, match=r"task 'riddles': acme/riddles \(config easy, split test\).*--data DIR"):
        SOURCE.rows("riddles", None)


def test_the_hub_is_read_by_config_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load(*names: object, **options: object) -> list[dict[str, object]]:
        asked.append((names, options))
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [row.text("q") for row in SOURCE.rows("riddles", None)] == ["one?", "two?"]
    assert asked == [(("acme/riddles", "easy"), {"split": "test", "revision": None})]


def test_ids_never_repeat() -> None:
    unused = Ids().unused
    assert [unused(name) for name in ("a", "a-2", "a", "a", "a-2")] == ["a", "a-2", "a-3", "a-4", "a-2-2"]


def test_shots_are_the_first_of_the_group_and_never_the_question() -> None:
    pool = [("x", "1"), ("y", "2"), ("x", "3"), ("x", "4")]
    examples = Shots(pool, 2, lambda item: item[1], group=lambda item: item[0], where="pool")
    assert examples.before(("x", "9")) == [("x", "1"), ("x", "3")]
    assert examples.before(("x", "1")) == [("x", "3"), ("x", "4")]
    with pytest.raises(DataError, match="pool: 2 examples of 'y' are asked for, there are 1"):
        examples.before(("y", "9"))
    assert Shots(pool, 0, lambda item: item[1]).before(("z", "")) == []


def test_a_drawn_pool_is_the_seeds() -> None:
    import random

    pool = list(range(50))
    assert drawn(pool, 3, 1234) == random.Random(1234).sample(pool, 3)
    assert len(drawn(pool, 3, 1234, spare=1)) == 4
    assert drawn(pool[:2], 3, 1234) in ([0, 1], [1, 0])


def test_a_list_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "acme_examples"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "shots.json").write_text(
        json.dumps({"lists": {"mine": {"source": "us", "licence": "MIT", "rows": ROWS}}})
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [row.text("q") for row in shots.curated("acme_examples", "shots.json", "mine")] == ["one?", "two?"]
    with pytest.raises(DataError, match="no list of examples named 'yours'"):
        shots.curated("acme_examples", "shots.json", "yours")


@pytest.mark.parametrize(("value", "place"), [(0, 0), ("1", 1), (True, 1)])
def test_an_index_may_be_digits(value: object, place: int) -> None:
    assert Row(0, "f:1", {"label": value}).index("label", 2) == place


@pytest.mark.parametrize("value", ["", "-1", "2", 2, -1, "a", "²"])
def test_an_index_beyond_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="f:1: column 'label' must name one of 2 choices"):
        Row(0, "f:1", {"label": value}).index("label", 2)


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read_file(tmp_path / "a.parquet")


def test_a_list_and_a_table_are_read_by_name(tmp_path: Path) -> None:
    """A JSON list, packed or not, and CSV with a quoted line break; rows are counted from 1."""
    rows = [{"q": "one?"}, {"q": 'two,\n"2"?'}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    (tmp_path / "a.csv").write_text('\ufeffq\none?\n"two,\n""2""?"\n')
    for name in ("a.json", "a.json.gz", "a.csv"):
        assert [row.fields for row in read_file(tmp_path / name)] == rows
    assert read_file(tmp_path / "a.csv")[1].where.endswith("a.csv:row 2")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{}", "a JSON list of objects is needed"),
        ("a.json", "[1]", "a JSON list of objects is needed"),
        ("a.csv", "q,r\n1\n", "row 1: has 1 values under 2 names"),
        ("a.csv", "", "no rows"),
        ("a.csv", "q\n", "no rows"),
        ("a.json.gz", "no", "cannot be read"),
        ("a.txt", "no", "must end in .jsonl, .jsonl.gz, .json"),
    ],
)
def test_a_file_that_is_no_table(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_file(tmp_path / name)


def test_a_configuration_of_the_hubs_conversion_is_a_folder(tmp_path: Path) -> None:
    """By name none is found but `default`, which is all of them at once (lukaemon/bbh, ybisk/piqa …)."""
    import pyarrow
    import pyarrow.parquet

    from aftertrain.core.ground.hub import CONVERTED, load_from_hub

    for config in ("alpha", "beta"):
        (tmp_path / config / "test").mkdir(parents=True)
        table = pyarrow.table({"input": [config]})
        pyarrow.parquet.write_table(table, tmp_path / config / "test" / "0000.parquet")
    with pytest.raises(DataError, match="'beta' not found"):
        load_from_hub(str(tmp_path), "beta", "test", None, named="it")
    found = load_from_hub(str(tmp_path), "beta", "test", CONVERTED, named="it")
    assert found["input"] == ["beta"]
