"""Files: reading, damage, ids, fingerprints."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import DataError, Unreachable
from aftertrain.core.records import Conversation

ROWS = [{"prompt": f"What is {i}?", "response": f"It is {i}."} for i in range(5)]
FORMAT = {"format": "prompt_response"}


def plain(path: Path) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def zipped(path: Path) -> Path:
    path = path.with_suffix(".jsonl.gz")
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    return path


def parquet(path: Path) -> Path:
    import pyarrow
    from pyarrow.parquet import write_table

    path = path.with_suffix(".parquet")
    write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


def delimited(path: Path) -> Path:
    import csv

    path = path.with_suffix(".csv")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "response"])
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def array(path: Path) -> Path:
    path = path.with_suffix(".json")
    path.write_text(json.dumps(ROWS, indent=2))
    return path


KINDS = [
    ("jsonl", plain),
    ("jsonl", zipped),
    ("parquet", parquet),
    ("csv", delimited),
    ("json", array),
    ("hub", plain),
]


@pytest.mark.parametrize(("use", "make"), KINDS)
def test_every_kind_of_file_yields_the_same_records(
    use: str, make: Any, dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the same, unique ids that do not depend on other rows, `limit` takes the first."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    path = make(tmp_path / "data" / "rows")
    where = str(path.parent) if use == "hub" else str(path)
    data = dataset(use, path=where, source="s", **FORMAT)
    records = list(data)
    assert list(data) == records
    assert len(data) == 5
    assert data.record_type is Conversation
    assert [record.messages[1].content for record in records] == [f"It is {i}." for i in range(5)]
    assert len({record.id for record in records}) == 5
    assert list(dataset(use, path=where, source="s", limit=2, **FORMAT)) == records[:2]


def test_ids_do_not_depend_on_other_rows_and_stay_unique(dataset: Any, write: Any) -> None:
    """A row keeps its id when rows before it go; equal rows and equal ids are told apart in order."""
    ids = [record.id for record in dataset("jsonl", path=str(write(ROWS)), **FORMAT)]
    fewer = [record.id for record in dataset("jsonl", path=str(write(ROWS[2:])), **FORMAT)]
    assert ids[2:] == fewer
    twice = [record.id for record in dataset("jsonl", path=str(write([ROWS[0], ROWS[0]])), **FORMAT)]
    assert twice == [ids[0], f"{ids[0]}#2"]
    named = write([{"id": "a", **ROWS[0]}, {"id": "a", **ROWS[1]}])
    assert [record.id for record in dataset("jsonl", path=str(named), **FORMAT)] == ["a", "a#2"]


def test_the_fingerprint_follows_content_and_settings_not_place(dataset: Any, write: Any, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    here, there = write(ROWS, "a.jsonl"), write(ROWS, "other/a.jsonl")
    base = dataset("jsonl", path=str(here), **FORMAT).fingerprint()
    assert dataset("jsonl", path=str(there), **FORMAT).fingerprint() == base
    assert dataset("jsonl", path=str(there), license="MIT", **FORMAT).fingerprint() == base
    assert dataset("jsonl", path=str(here), limit=3, **FORMAT).fingerprint() != base
    assert dataset("jsonl", path=str(write(ROWS[1:], "a.jsonl")), **FORMAT).fingerprint() != base


def test_equal_fingerprints_mean_equal_records(dataset: Any, write: Any) -> None:
    """A file's name begins the ids of its rows, from which evaluation draws seeds: renamed, it passed for the same."""
    here, renamed = (dataset("jsonl", path=str(write(ROWS, name)), **FORMAT) for name in ("a.jsonl", "b.jsonl"))
    assert list(here) != list(renamed)
    assert here.fingerprint() != renamed.fingerprint()
    here, renamed = (
        dataset("jsonl", path=str(write(ROWS, name)), source="s", **FORMAT) for name in ("a.jsonl", "b.jsonl")
    )
    assert list(here) == list(renamed)


def test_ids_that_look_like_numbered_ones_stay_unique(dataset: Any, write: Any) -> None:
    """Rows `a`, `a#2`, `a` gave two records the id `a#2`: rewards and scores are looked up by id."""
    rows = write([{"id": name, **ROWS[0]} for name in ("a", "a#2", "a", "a", "a#2")])
    ids = [record.id for record in dataset("jsonl", path=str(rows), **FORMAT)]
    assert ids == ["a", "a#2", "a#3", "a#4", "a#2#2"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "a" "b"}', ":2: not JSON: Expecting ',' delimiter at column 16; one object per line is expected"),
        ("[1, 2]", ":2: expected a JSON object, found a list [1, 2]"),
        ("{", ":2: not JSON: Expecting property name enclosed in double quotes at column 2; one object per line is"),
    ],
)
def test_a_line_that_is_no_object_is_named(line: str, message: str, dataset: Any, write: Any) -> None:
    path = write([ROWS[0], line])
    with pytest.raises(DataError) as caught:
        list(dataset("jsonl", path=str(path), **FORMAT))
    assert str(caught.value).startswith(f"{path}{message}")


def test_bytes_that_are_no_text_are_named(dataset: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "\xff"}\n')
    with pytest.raises(DataError, match=f"{path}:1: not UTF-8 at byte 12 of the line"):
        list(dataset("jsonl", path=str(path), **FORMAT))


def test_a_torn_archive_is_named(dataset: Any, tmp_path: Path) -> None:
    path = zipped(tmp_path / "rows")
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=rf"{path}:?\d*: cannot be read"):
        list(dataset("jsonl", path=str(path), **FORMAT))


@pytest.mark.parametrize("use", ["jsonl", "parquet"])
def test_a_missing_file_is_named(use: str, dataset: Any, tmp_path: Path) -> None:
    data = dataset(use, path=str(tmp_path / "none"), **FORMAT)
    for read in (data.fingerprint, lambda: list(data)):
        with pytest.raises(DataError, match=f"{tmp_path}/none: cannot be read"):
            read()


def test_an_empty_file_is_an_error(dataset: Any, write: Any) -> None:
    with pytest.raises(DataError, match="the data set is empty"):
        list(dataset("jsonl", path=str(write([])), **FORMAT))


def test_a_hub_that_does_not_answer_is_told_from_bad_data(dataset: Any, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="'nobody/nothing' is neither a local folder, nor in the local cache"):
        list(dataset("hub", path="nobody/nothing"))


def test_a_machine_without_network_does_not_wait_for_the_hub(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's five retries a data set made `plan` of a shipped recipe take two minutes and fill the screen."""
    import datasets.config
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://localhost:9")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    began = time.monotonic()
    with pytest.raises(Unreachable, match="'nobody/nothing' is neither a local folder, nor in the local cache"):
        list(dataset("hub", path="nobody/nothing"))
    assert time.monotonic() - began < 5
    assert not constants.HF_HUB_OFFLINE
    assert not datasets.config.HF_HUB_OFFLINE


def test_real_files(dataset: Any, shared_data: Path) -> None:
    """GSM8K, Tülu 3's samples and HH-RLHF, whole."""
    expected = [
        ("gsm8k/train.jsonl.gz", {"format": "gsm8k"}, 7473),
        ("gsm8k/test.jsonl", {"format": "gsm8k", "as": "problem"}, 1319),
        ("tulu3_samples/sft_sample.jsonl", {}, 100),
        ("tulu3_samples/preference_sample.jsonl", {"format": "preference"}, 100),
        ("tulu3_samples/rlvr_sample.jsonl", {"format": "rlvr"}, 100),
        ("preferences/dpo_en_demo.jsonl.gz", {"format": "preference"}, 300),
        ("preferences/hh_rlhf_harmless_test_first_half.jsonl.gz", {"format": "preference"}, 1156),
    ]
    for name, settings, rows in expected:
        records = list(dataset("jsonl", path=str(shared_data / name), **settings))
        assert len({record.id for record in records}) == rows, name


def test_where_rows_stand(dataset: Any, write: Any, tmp_path: Path) -> None:
    """File and line, blank lines counted; of equal ids each has its own; unknown ones are absent."""
    row = {"id": "a", "prompt": "x", "response": "y"}
    path = write([row, "", {**row, "id": "b"}, row])
    data = dataset("jsonl", path=str(path), **FORMAT)
    assert data.where(["a", "a#2", "b", "c"]) == {"a": f"{path}:1", "b": f"{path}:3", "a#2": f"{path}:4"}
    assert data.where([]) == {}


def test_where_does_not_read_beyond_the_last_row_asked_for(dataset: Any, write: Any) -> None:
    path = write([{"id": "a", "prompt": "x", "response": "y"}, "no JSON"])
    assert dataset("jsonl", path=str(path), **FORMAT).where(["a"]) == {"a": f"{path}:1"}


def saved(folder: Path, **splits: int) -> Path:
    """What `save_to_disk` writes of one split, or of several under their names."""
    import datasets

    datasets.disable_progress_bars()
    parts = {name: datasets.Dataset.from_list(ROWS[:rows]) for name, rows in splits.items()}
    whole = datasets.DatasetDict(parts) if len(parts) > 1 else next(iter(parts.values()))
    whole.save_to_disk(str(folder))
    return folder


@pytest.mark.parametrize(
    ("splits", "settings", "rows"),
    [
        ({"train": 5}, {}, 5),
        ({"train": 5}, {"split": "train[1:3]"}, 2),
        ({"train": 5, "test": 2}, {}, 5),
        ({"train": 5, "test": 2}, {"split": "test"}, 2),
        ({"train": 5, "test": 2}, {"split": "test+train[:1]"}, 3),
    ],
)
def test_a_folder_of_save_to_disk_is_read(
    splits: dict[str, int], settings: dict[str, str], rows: int, dataset: Any, tmp_path: Path
) -> None:
    data = dataset("hub", path=str(saved(tmp_path / "ds", **splits)), **FORMAT, **settings)
    assert len(list(data)) == rows
    assert data.fingerprint() == data.fingerprint()


def test_a_folder_of_save_to_disk_that_cannot_be_used_is_told_of(dataset: Any, tmp_path: Path) -> None:
    folder = saved(tmp_path / "ds", train=3, test=1)
    with pytest.raises(DataError, match=r"no split named 'tset'\. Did you mean 'test'"):
        list(dataset("hub", path=str(folder), split="tset", **FORMAT))
    (folder / "train" / "state.json").write_text("{")
    with pytest.raises(DataError, match="save_to_disk that cannot be read"):
        list(dataset("hub", path=str(folder), **FORMAT))
    with pytest.raises(DataError, match="there is no such folder"):
        list(dataset("hub", path=str(tmp_path / "none"), **FORMAT))
    with pytest.raises(DataError, match="write `use: parquet`"):
        list(dataset("hub", path=str(parquet(tmp_path / "file")), **FORMAT))


def test_folders_of_parquet_files(dataset: Any, tmp_path: Path) -> None:
    """In the order of their names, wherever the folder stands; files of two splits are not mixed."""
    folder = tmp_path / "a" / "rows"
    (folder / "data").mkdir(parents=True)
    for number in (1, 0):
        parquet(folder / "data" / f"train-0000{number}-of-00002")
    data = dataset("parquet", path=str(folder), **FORMAT)
    assert len(list(data)) == 10
    first = next(iter(data)).id
    assert data.where([first]) == {first: f"{folder}/data/train-00000-of-00002.parquet:row 1"}
    fingerprint = data.fingerprint()
    moved = (tmp_path / "a").rename(tmp_path / "b") / "rows"
    assert dataset("parquet", path=str(moved), **FORMAT).fingerprint() == fingerprint
    assert len(list(dataset("hub", path=str(moved), **FORMAT))) == 10
    parquet(moved / "data" / "test-00000-of-00001")
    with pytest.raises(DataError, match=r"several splits \(test, train\); write `use: hub`"):
        list(dataset("parquet", path=str(moved), **FORMAT))
    with pytest.raises(DataError, match=r"a folder without \.parquet files"):
        list(dataset("parquet", path=str(saved(tmp_path / "ds", train=1)), **FORMAT))


@pytest.mark.parametrize("use", ["jsonl", "csv", "json"])
def test_a_folder_where_a_file_is_read_is_told_of(use: str, dataset: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder, where a file is read; name a file in it"):
        dataset(use, path=str(tmp_path), **FORMAT).fingerprint()


@pytest.mark.parametrize("written", ["./ds", "ds", "sub/../ds", "."])
def test_a_local_folder_of_the_hub_s_form_is_taken_from_the_recipe_s(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken from the current folder, so that plan and run depended on where they were started."""
    from aftertrain.plugins.data.settings import HubSettings

    monkeypatch.chdir("/")
    (tmp_path / "sub").mkdir()
    saved(tmp_path / "ds", train=2)
    settings = HubSettings.model_validate({"path": written, **FORMAT}, context={"base_folder": tmp_path})
    assert Path(settings.path).resolve() == (tmp_path / "ds" if "ds" in written else tmp_path)
    assert "path" not in settings.affecting()
    remote = HubSettings.model_validate({"path": "allenai/ds", **FORMAT}, context={"base_folder": tmp_path})
    assert remote.path == "allenai/ds"
