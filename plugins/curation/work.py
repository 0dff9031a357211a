"""The stage's work folder: rows as they stand before and after each group of operators, shard by shard.

    work/0/part-00000.jsonl            rows of the source; beside it an account, and what makes no record
    work/1/part-00000.jsonl            the same after the first operators
    work/1/part-00000.dropped.jsonl    what these left out
    work/1/part-00000.json             the account; written last, so that the shard is done when it is there
    work/1/learnt/                     what the first of its operators learnt from all rows before it

A group ends before each operator that must see all rows. Whatever is done when the process is killed is not done again,
and the number of processes changes no byte.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aftertrain.core.completions.keeping import shared_store, sharing
from aftertrain.core.errors import DataError
from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.ground.reading import read_json
from aftertrain.core.operator import Operator, Row
from aftertrain.core.rows.chain import Count, Outcome, Step, through
from aftertrain.core.rows.files import part, read_shard, write_lines, write_rows, write_text
from aftertrain.core.rows.left_out import left_out_line
from aftertrain.core.verification.parcel import Parcel
from aftertrain.core.verification.worker import Files

ACCOUNT = 1 << 30
"""Bytes of an account that are read: it holds the ids of a shard's rows."""


@dataclass(frozen=True)
class Account:
    """What became of one shard in one group of operators, or as it was read.

    Attributes:
        record: name of the record type of what came out, "" for nothing.
        kept: ids that came out, in order.
        dropped: ids with the operator and the reason, in order.
        made: ids that operators made.
        replaced: ids in whose place others were made.
        counts: by operator and field of `Count`.
    """

    record: str = ""
    kept: tuple[str, ...] = ()
    dropped: tuple[tuple[str, str, str], ...] = ()
    made: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    counts: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Operators that one process takes a shard through at once.

    Attributes:
        number: from 1; 0 is the source.
        steps: its operators.
        folder: the stage's work folder.
    """

    number: int
    steps: tuple[Step, ...]
    folder: Path

    @property
    def place(self) -> Path:
        """Folder of what comes out."""
        return self.folder / str(self.number)

    @property
    def learnt(self) -> Path:
        """Folder of what the first operator learnt, where it learns."""
        return self.place / "learnt"

    def done(self, shard: int) -> bool:
        """Whether a shard is done."""
        return (self.place / f"{part(shard)}.json").exists()

    def account(self, shard: int) -> Account | None:
        """Of a shard that is done, else None."""
        path = self.place / f"{part(shard)}.json"
        return read_json(path, Account, limit=ACCOUNT, error=DataError) if path.exists() else None


@dataclass(frozen=True)
class Task:
    """A shard to be taken through a group, in any process.

    Attributes:
        parcels: the group's operators on their way, with their names.
        record: name of the record type that goes in, "" for no rows.
        seed: the stage's.
        store: where replies of models are kept, so that a shard that is done again does not ask again; None where no
            operator asks.
    """

    number: int
    parcels: tuple[tuple[str, Parcel], ...]
    folder: Path
    shard: int
    record: str
    seed: int
    store: Path | None = None


def work(task: Task) -> int:
    """Take a shard through a group. Returns the shard's number."""
    if task.store is not None and shared_store() is None:
        _held.enter_context(sharing(task.store))  # for as long as this process lives
    steps = tuple((name, _opened(parcel, task)) for name, parcel in task.parcels)
    group, shard = Group(task.number, steps, task.folder), task.shard
    before = group.folder / str(group.number - 1) / f"{part(shard)}.jsonl"
    outcome = through(read_shard(before, task.record) if task.record else (), steps, task.seed)
    write_rows(group.place / f"{part(shard)}.jsonl", outcome.rows)
    write_lines(group.place / f"{part(shard)}.dropped.jsonl", (left_out_line(*entry) for entry in outcome.dropped))
    write_account(group.place / f"{part(shard)}.json", _account(outcome))
    return shard


_held = ExitStack()
_open: dict[tuple[Path, str], Operator[Any]] = {}
"""Operators of the group that this process works on."""


def put_away() -> None:
    """Let go of the operators that were opened in this process, with their models and files."""
    _open.clear()
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Files)]


def _opened(parcel: Parcel, task: Task) -> Operator[Any]:
    """The operator, made once in each process, with what it learnt."""
    place = task.folder / str(task.number)
    if key := next((key for key in _open if key[0] != place), None):
        _open.clear()  # of a group that is done: what it learnt may be large
    key = place, parcel.key
    if key not in _open:
        if not any(isinstance(finder, Files) and finder.files == parcel.files for finder in sys.meta_path):
            sys.meta_path.append(Files(parcel.files))
        operator: Operator[Any] = pickle.loads(parcel.pickled)
        if operator.learns:
            operator.recall(Group(task.number, (), task.folder).learnt)
        _open[key] = operator
    return _open[key]


def rows_before(group: Group, accounts: list[str]) -> Iterator[Row]:
    """All rows that go into a group, in their order.

    Args:
        accounts: by shard, the record type of its rows.
    """
    for shard, record in enumerate(accounts):
        if record:
            yield from read_shard(group.folder / str(group.number - 1) / f"{part(shard)}.jsonl", record)


def write_account(path: Path, account: Account) -> None:
    """Write the account of a shard: it is done."""
    write_text(path, json_text(asdict(account), verbatim=True))


def _account(outcome: Outcome) -> Account:
    return Account(
        record=type(outcome.rows[0].record).__name__ if outcome.rows else "",
        kept=tuple(row.id for row in outcome.rows),
        dropped=tuple((entry.row.id, name, entry.reason) for name, entry in outcome.dropped),
        made=tuple(outcome.made),
        replaced=tuple(outcome.replaced),
        counts={name: _plain(count) for name, count in outcome.counts.items()},
    )


def _plain(count: Count) -> dict[str, dict[str, int]]:
    return {name: {key: n for key, n in sorted(counter.items()) if n} for name, counter in vars(count).items()}
