"""Known data sets: every layout becomes the exact record, a changed one is an error that shows both (F9)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from aftertrain.cli import main
from aftertrain.core.dataset import BadRow
from aftertrain.core.errors import DataError
from aftertrain.core.records import Conversation, PreferencePair, Problem
from aftertrain.plugins.data.sources.entry import catalogue
from aftertrain.plugins.data.sources.layout import checked_layout
from aftertrain.plugins.data.sources.licences import COMMERCIAL
from aftertrain.plugins.data.sources.settings import SourceSettings
from tests.plugins.data.source_rows import ROWS, TREE, TURNS

KINDS: dict[str, type] = {"messages": Conversation, "chosen": PreferencePair, "checks": Problem}


def plain(value: Any) -> Any:
    """Turns as (role, content), checks as (verifier, truth)."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if hasattr(value, "role"):
        return value.role, value.content
    return (value.verifier, value.ground_truth) if hasattr(value, "verifier") else value


def test_every_source_has_a_hand_made_row() -> None:
    assert ROWS.keys() == catalogue().keys()


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_layout_become_the_record(name: str, dataset: Any, write: Any) -> None:
    rows, fields = ROWS[name]
    data = dataset("source", name=name, path=str(write(rows)))
    (record,) = list(data)
    entry = catalogue()[name]
    kind = next(kind for field, kind in KINDS.items() if field in fields)
    assert type(record) is kind
    assert data.record_type is kind
    assert {field: plain(getattr(record, field)) for field in fields} == fields
    if entry.part_column is None:
        assert (record.source, record.license) == (name, entry.license)
    assert list(data.entries()) == [record]


@pytest.mark.parametrize("name", ROWS)
def test_a_changed_column_shows_both_layouts(name: str, dataset: Any, write: Any) -> None:
    """Each column in turn: renamed, and a number in place of what it was."""
    rows, _ = ROWS[name]
    for column, layout in catalogue()[name].columns.items():
        if isinstance(layout, str) and layout.endswith("?"):
            continue
        renamed = [{f"{key}_v2" if key == column else key: value for key, value in row.items()} for row in rows]
        with pytest.raises(DataError) as caught:
            list(dataset("source", name=name, path=str(write(renamed))))
        told = str(caught.value)
        assert f"source {name!r}" in told
        assert f"{column} is missing" + f" (there is {column}_v2)" * (len(column) > 2) in told
        expected, found = (next(line for line in told.splitlines() if word in line) for word in ("expected:", "found:"))
        assert f"{column}:" in expected
        assert f"{column}_v2:" in found
        if layout == "number":
            continue
        other = [{**row, column: 7} for row in rows]
        with pytest.raises(DataError, match=rf"so: {column} is number"):
            list(dataset("source", name=name, path=str(write(other))))


def test_the_whole_message_of_a_changed_column(dataset: Any, write: Any) -> None:
    path = write([{"prompt": "a", "responses": {"text": "b"}}])
    with pytest.raises(DataError) as caught:
        list(dataset("source", name="community/metamath", path=str(path)))
    script = "github:allenai/open-instruct@20dd649713fe416d57d7894ad54a39edc8fa11e4/scripts/data/sft/metamath.py"
    assert str(caught.value) == (
        f"{path}:1: source 'community/metamath' (meta-math/MetaMathQA) has not the columns that its converter was "
        f"written for ({script})\n"
        "  expected: query: text, response: text\n"
        "  found:    prompt: text, responses: {text: text}\n"
        "  so: query is missing; response is missing (there is responses)\n"
        "  Read it with `use: hub` (jsonl, parquet …), a `format` and `fields`, or name the `revision` that fits."
    )


def test_a_later_row_of_another_layout_is_a_bad_row(dataset: Any, write: Any) -> None:
    rows = [{"query": "a", "response": "b"}, {"query": "c"}, {"query": "e", "response": "f"}]
    entries = list(dataset("source", name="community/metamath", path=str(write(rows))).entries())
    assert [type(entry) for entry in entries] == [Conversation, BadRow, Conversation]
    assert entries[1].reason == "changed_layout"


def test_trees_follow_as_many_branches_as_asked_and_lose_no_answer(dataset: Any, write: Any) -> None:
    """By hand: two answers to the root, the better goes on through the prompt that somebody answered."""
    path = str(write(TREE))
    one = [record.id for record in dataset("source", name="tulu3/oasst1", path=path)]
    assert one == ["last"]
    both = list(dataset("source", name="tulu3/oasst1", path=path, branches=2))
    assert [(record.id, len(record.messages)) for record in both] == [("last", 4), ("bad", 2)]
    # Without the answer to it, the prompt "more" goes, and the path ends with the answer before.
    (short,) = dataset("source", name="tulu3/oasst1", path=str(write(TREE[:-1], "short.jsonl")))
    assert (short.id, short.messages[-1].content) == ("good", "2 + 2 = 4")


def test_a_row_without_a_better_reply_makes_no_pair(dataset: Any, write: Any) -> None:
    answers = [{"answer": text, "model": "m", "rank": 1.0} for text in ("a", "b")]
    tie = {"prompt": "\n\nHuman: x\n\nAssistant: ", "answers": answers}
    rows = [tie, ROWS["community/nectar"][0][0]]
    assert len(list(dataset("source", name="community/nectar", path=str(write(rows))))) == 1


def test_the_rejected_reply_is_drawn_by_the_seed_from_worse_ones_alone(dataset: Any, write: Any) -> None:
    answers = [{"answer": str(rank), "model": "m", "rank": float(rank)} for rank in (1, 1, 2, 3, 4)]
    rows = [{"prompt": f"\n\nHuman: {i}\n\nAssistant: ", "answers": answers} for i in range(60)]
    path = str(write(rows))

    def rejected(seed: int) -> list[str]:
        data = dataset("source", name="community/nectar", path=path, seed=seed)
        return [pair.rejected[0].content for pair in data]

    assert set(rejected(0)) == {"2", "3", "4"}
    assert rejected(0) == rejected(0) != rejected(1)


def test_several_turns_of_a_prompt_are_turns(dataset: Any, write: Any) -> None:
    prompt = "Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nMore"
    rows = [{**row, "prompt": prompt} for row in ROWS["community/helpsteer2"][0]]
    (pair,) = dataset("source", name="community/helpsteer2", path=str(write(rows)))
    assert plain(pair.prompt) == [("user", "Hi"), ("assistant", "Hello"), ("user", "More")]


def test_rows_of_a_collection_keep_source_and_licence_of_their_part(dataset: Any, write: Any) -> None:
    rows = [
        {"id": "a", "messages": TURNS, "source": "ai2-adapt-dev/no_robots_converted"},
        {"id": "b", "messages": TURNS, "source": "ai2-adapt-dev/tulu_v3.9_table_gpt_5k"},
        {"id": "c", "messages": TURNS, "source": "ai2-adapt-dev/no_robot_converted"},
    ]
    path = str(write(rows))
    *records, odd = dataset("source", name="tulu3/sft-mixture", path=path).entries()
    assert [(record.source, record.license) for record in records] == [
        ("tulu3/no_robots", "CC-BY-NC-4.0"),
        ("tulu3/table-gpt", "MIT"),
    ]
    assert (odd.reason, "the nearest that is known is 'ai2-adapt-dev/no_robots_converted'" in odd.message) == (
        "unknown_part",
        True,
    )
    kept = dataset("source", name="tulu3/sft-mixture", path=path, parts=["tulu3/table-gpt"]).entries()
    assert [entry.id for entry in kept if not isinstance(entry, BadRow)] == ["b"]
    with pytest.raises(ValidationError, match=r"no part of tulu3/sft-mixture named 'tulu3/no_robot'\. Did you mean"):
        dataset("source", name="tulu3/sft-mixture", path=path, parts=["tulu3/no_robot"])


def test_real_rows_of_the_mixtures(dataset: Any) -> None:
    """100 rows each, as the hub has them."""
    if "AFTERTRAIN_DATA" not in os.environ:
        pytest.skip("AFTERTRAIN_DATA names no folder of sample rows")
    samples = Path(os.environ["AFTERTRAIN_DATA"]) / "tulu3_samples"
    made = {
        name: list(dataset("source", name=f"tulu3/{name}", path=str(samples / f"{file}.jsonl")).entries())
        for name, file in {
            "sft-mixture": "sft_sample",
            "preference-mixture-8b": "preference_sample",
            "rlvr-mixture": "rlvr_sample",
        }.items()
    }
    assert {name: len(entries) for name, entries in made.items()} == dict.fromkeys(made, 100)
    assert not [entry for entries in made.values() for entry in entries if isinstance(entry, BadRow)]
    assert {(record.source, record.license) for record in made["sft-mixture"]} == {("tulu3/oasst1", "Apache-2.0")}
    assert {record.source for record in made["rlvr-mixture"]} == {"tulu3/rlvr-gsm", "tulu3/rlvr-math"}


class TestPlaces:
    """The same rows from every kind of file and folder."""

    ROW: ClassVar = {"query": "2 + 2?", "response": "4"}

    def same(self, dataset: Any, path: Path, **settings: Any) -> None:
        (record,) = dataset("source", name="community/metamath", path=str(path), **settings)
        assert [turn.content for turn in record.messages] == ["2 + 2?", "4"]

    def test_files(self, dataset: Any, tmp_path: Path) -> None:
        import pyarrow
        from pyarrow.parquet import write_table

        (tmp_path / "a.jsonl").write_text(json.dumps(self.ROW) + "\n")
        (tmp_path / "a.json").write_text(json.dumps([self.ROW]))
        (tmp_path / "a.csv").write_text("query,response\n2 + 2?,4\n")
        (tmp_path / "a.tsv").write_text("query\tresponse\n2 + 2?\t4\n")
        write_table(pyarrow.Table.from_pylist([self.ROW]), tmp_path / "a.parquet")
        for end in ("jsonl", "json", "csv", "tsv", "parquet"):
            self.same(dataset, tmp_path / f"a.{end}")
        (tmp_path / "a.txt").write_text("x")
        with pytest.raises(DataError, match=r"a\.txt: a source is read from files that end in \.jsonl"):
            self.same(dataset, tmp_path / "a.txt")
        with pytest.raises(DataError, match=r"source 'community/metamath': there is no file or folder "):
            self.same(dataset, tmp_path / "b")

    def test_folders(self, dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
        several = tmp_path / "several"
        several.mkdir()
        for name in ("b", "a"):
            (several / f"{name}.json").write_text(json.dumps([{"query": name, "response": name}]))
        records = list(dataset("source", name="community/metamath", path=str(several)))
        assert [record.messages[0].content for record in records] == ["a", "b"]
        table = datasets.Dataset.from_list([self.ROW])
        table.save_to_disk(str(tmp_path / "saved"))
        self.same(dataset, tmp_path / "saved")
        (tmp_path / "as-on-the-hub" / "data").mkdir(parents=True)
        table.to_parquet(str(tmp_path / "as-on-the-hub" / "data" / "train-00000.parquet"))
        self.same(dataset, tmp_path / "as-on-the-hub")
        self.same(dataset, tmp_path / "as-on-the-hub", split="train")

    def test_tabs_and_words_like_na_are_read_as_the_source_writes_them(self, dataset: Any, tmp_path: Path) -> None:
        path = tmp_path / "train.tsv"
        path.write_text("vanilla\tadversarial\tcompletion\tdata_type\nWhat is NA?\t\tNA\tvanilla_benign\n")
        (record,) = dataset("source", name="tulu3/wildjailbreak", path=str(path))
        assert plain(record.messages) == [("user", "What is NA?"), ("assistant", "NA")]

    def test_the_hub_is_asked_for_what_the_catalogue_says(self, dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        asked: list[Any] = []

        def load(*args: Any, **options: Any) -> Any:
            asked.append((args, options))
            return datasets.Dataset.from_list(
                [{"vanilla": "a", "adversarial": "", "completion": "b", "data_type": "v"}]
            )

        monkeypatch.setattr(datasets, "load_dataset", load)
        data = dataset("source", name="tulu3/wildjailbreak", revision="abc")
        assert [plain(record.messages) for record in data] == [[("user", "a"), ("assistant", "b")]]
        options = {"split": "train", "revision": "abc", "delimiter": "\t", "keep_default_na": False}
        assert asked == [(("allenai/wildjailbreak", "train"), options)]


class TestLicences:
    """What `license: commercial` takes."""

    def take(self, **settings: Any) -> SourceSettings:
        return SourceSettings(license="commercial", **settings)

    def refused(self, **settings: Any) -> str:
        with pytest.raises(ValidationError) as caught:
            self.take(**settings)
        return caught.value.errors()[0]["msg"].removeprefix("Value error, ")

    def test_non_commercial_and_unconfirmed_are_refused_unless_named(self) -> None:
        assert self.take(name="tulu3/coconot").entry.license == "ODC-BY-1.0"
        assert self.refused(name="tulu3/no_robots") == (
            "no licence that is known to allow commercial use: tulu3/no_robots (CC-BY-NC-4.0); "
            "take it all the same with allow: [tulu3/no_robots]"
        )
        assert "tulu3/flan_v2 (unconfirmed)" in self.refused(name="tulu3/flan_v2")
        assert "community/nectar (Apache-2.0 with a condition)" in self.refused(name="community/nectar")
        assert self.take(name="tulu3/no_robots", allow=["tulu3/no_robots"])
        assert self.take(name="tulu3/no_robots", allow=["CC-BY-NC-4.0"])
        assert "tulu3/flan_v2" in self.refused(name="tulu3/flan_v2", allow=["CC-BY-NC-4.0"])

    def test_a_collection_is_taken_by_its_parts(self) -> None:
        told = self.refused(name="tulu3/sft-mixture")
        assert "tulu3/flan_v2 (unconfirmed), tulu3/no_robots (CC-BY-NC-4.0)" in told
        assert self.take(name="tulu3/sft-mixture", parts=["tulu3/coconot", "tulu3/aya"])
        assert self.take(name="tulu3/sft-mixture", allow=["tulu3/flan_v2", "tulu3/no_robots"])
        assert self.take(name="tulu3/rlvr-mixture")
        assert "parts have licences of their own, which are not known" in self.refused(
            name="tulu3/preference-mixture-8b"
        )

    def test_a_name_that_is_allowed_in_vain_is_told(self) -> None:
        told = self.refused(name="tulu3/no_robots", allow=["tulu3/no-robots"])
        assert told.startswith("allow: no source or licence named 'tulu3/no-robots'. Did you mean 'tulu3/no_robots'?")
        with pytest.raises(ValidationError, match="set, and not used"):
            SourceSettings(name="tulu3/no_robots", allow=("tulu3/no_robots",))

    def test_none_that_says_non_commercial_is_taken(self) -> None:
        assert not [licence for licence in COMMERCIAL if "NC" in licence or "condition" in licence]


class TestCatalogue:
    """Every entry says where it was seen, or what was not."""

    def test_no_entry_without_a_citation_or_the_mark_unverified(self) -> None:
        assert not [name for name, entry in catalogue().items() if not (entry.seen or entry.unverified)]
        assert not [name for name, entry in catalogue().items() if entry.license and not entry.license_seen]

    def test_all_nineteen_of_the_mixture_are_there(self) -> None:
        """The counts of its card, which sum to 939,344; the split has one fewer."""
        parts = set(catalogue()["tulu3/sft-mixture"].parts.values())
        assert len(parts) == 19
        assert sum(catalogue()[part].taken or 0 for part in parts) == 939_344

    def test_a_citation_that_names_no_commit_is_refused(self) -> None:
        from aftertrain.plugins.data.sources.entry import Entry

        given = {"hub": "a/b", "columns": {"text": "text"}, "reads": "text"}
        for wrong in ("github:a/b@main/c.py", "somewhere", "hub:a/b"):
            with pytest.raises(ValidationError, match="no citation"):
                Entry(**given, seen=[wrong])
        with pytest.raises(ValidationError, match="neither where its columns were seen nor what is unverified"):
            Entry(**given)
        with pytest.raises(ValidationError, match="reads columns that its layout has not: prompt, response"):
            Entry(**{**given, "reads": "prompt_response"}, unverified="all")

    @pytest.mark.parametrize("wrong", ["string", [], {}, ["text", "text"], {"a": 1}])
    def test_what_is_no_layout_is_refused(self, wrong: Any) -> None:
        with pytest.raises(ValueError, match="no layout"):
            checked_layout(wrong)

    def test_an_unknown_name_says_what_is_near(self) -> None:
        with pytest.raises(
            ValidationError, match=r"no source named 'tulu3/norobots'\. Did you mean 'tulu3/no_robots'\?"
        ):
            SourceSettings(name="tulu3/norobots")

    def test_settings_of_other_sources_are_refused(self) -> None:
        for odd in ({"branches": 2}, {"seed": 1}, {"parts": ("tulu3/aya",)}):
            with pytest.raises(ValidationError, match="set, and not used"):
                SourceSettings(name="tulu3/aya", **odd)


def test_the_fingerprint_follows_rows_and_settings(dataset: Any, write: Any) -> None:
    here, there = (str(write(ROWS["community/nectar"][0], name)) for name in ("a.jsonl", "b.jsonl"))

    def digest(path: str, **settings: Any) -> str:
        return dataset("source", name="community/nectar", path=path, **settings).fingerprint()

    assert digest(here) == digest(there) != digest(here, seed=1)
    assert digest(here) == digest(here, license="commercial", allow=["community/nectar"])
    assert digest(str(write([*ROWS["community/nectar"][0], {"prompt": "x", "answers": []}]))) != digest(here)


def test_a_plan_is_told_what_is_left_out_and_unverified(dataset: Any, write: Any) -> None:
    notes = dataset("source", name="tulu3/wildguardmix", path=str(write(ROWS["tulu3/wildguardmix"][0]))).notes()
    assert notes[0] == "only rows whose response_harm_label matches '^unharmful$' are read"
    assert notes[1].startswith("unverified: The types of its columns")


RECIPE = """
name: known
model: package:aftertrain.plugins.quickstart/model
stages:
  sft:
    use: train
    loss: sft
    data: {use: source, name: tulu3/coconot, path: rows.jsonl}
    optimizer: {lr: 1.0e-3}
"""


def test_a_plan_shows_both_layouts_and_refuses_a_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("known.yaml").write_text(RECIPE, encoding="utf-8")
    row = {"id": "1", "category": "c", "subcategory": "s", "question": "2 + 3?", "response": "5"}
    Path("rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert main(["plan", "known.yaml"]) == 1
    page = capsys.readouterr().out
    assert "rows.jsonl:1: source 'tulu3/coconot' (allenai/coconot) has not the columns" in page
    assert "expected: id: text, category: text, subcategory: text, prompt: text, response: text" in page
    assert "found:    id: text, category: text, subcategory: text, question: text, response: text" in page
    other = "stages.sft.data={use: source, name: tulu3/no_robots, license: commercial}"
    assert main(["plan", "known.yaml", other]) == 2
    assert "allow: [tulu3/no_robots]" in capsys.readouterr().err
