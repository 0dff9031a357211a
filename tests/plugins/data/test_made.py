"""Rows of a stage as a data set: the promises of every data set, once the stage is done, and a plain word before."""

from __future__ import annotations

from pathlib import Path

import pytest

from aftertrain.core.errors import NotMade
from aftertrain.core.operator import Row
from aftertrain.core.records import Check, Message, Problem
from aftertrain.core.rows.files import write_rows
from aftertrain.core.rows.folder import ROWS, Contents, shard_of, write_contents
from aftertrain.core.settings import Use
from aftertrain.registry.discovery import installed
from aftertrain.testing import Subject, claims
from aftertrain.testing import dataset as promises
from aftertrain.testing.build import build
from aftertrain.testing.promise import Promise, promises_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a stage of rows leaves: seven problems in three shards."""
    (tmp_path / ROWS).mkdir()
    rows = [Row(Problem(f"p{i}", (Message("user", f"{i}?"),), (Check("exact", str(i)),), "made")) for i in range(7)]
    shards = []
    for number, some in enumerate((rows[:3], rows[3:6], rows[6:])):
        path = tmp_path / ROWS / f"part-{number:05d}.jsonl"
        shards.append(shard_of(path, write_rows(path, some)))
    write_contents(tmp_path, Contents("Problem", tuple(shards)))
    return tmp_path


class Done(Subject):
    """As if the stage that the settings name were done."""

    def use(self) -> Use[object]:
        use = super().use()
        use.settings.found(self.folder)
        return use


@pytest.mark.parametrize("promise", promises_in(promises), ids=lambda promise: promise.__name__)
def test_rows_of_a_stage_keep_the_promises_of_data_sets(promise: Promise, folder: Path) -> None:
    promise(Done(installed().registration("dataset", "stage"), installed(), folder, {"from": "curate"}))


def test_rows_are_found_by_their_ids(folder: Path) -> None:
    rows = build("dataset", "stage", **{"from": "curate"})
    rows.settings.found(folder)
    assert rows.where({"p4"}) == {"p4": f"{folder / ROWS / 'part-00001.jsonl'}:2"}


def test_before_the_stage_is_done_nothing_is_known(folder: Path) -> None:
    rows = build("dataset", "stage", **{"from": "curate"})
    for ask in (lambda: len(rows), lambda: list(rows), rows.fingerprint, lambda: rows.record_type):
        with pytest.raises(NotMade, match="the rows of stage 'curate' are not made yet"):
            ask()
    (claim,) = [claim for claim in claims("data") if str(claim) == "dataset stage: ids are unique"]
    assert claim.finding().state == "unchecked"
