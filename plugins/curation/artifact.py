"""What the stage hands on: shards, what was left out, the funnel, the data card; and the ledger's entries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from aftertrain.core.errors import DataError
from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.records import Artifact
from aftertrain.core.rows.files import Format, part, read_objects, read_shard, write_lines
from aftertrain.core.rows.shelf import Shelf
from aftertrain.core.run.folder import remove
from aftertrain.core.stage import StageContext
from aftertrain.plugins.curation.card import left_out
from aftertrain.plugins.curation.funnel import Funnel, funnel_of
from aftertrain.plugins.curation.source import Read
from aftertrain.plugins.curation.work import Account, Group

DROPPED = "dropped"
FUNNEL = "funnel.json"


def publish(context: StageContext, read: Read, groups: Sequence[Group], format: Format) -> Artifact:
    """Write the artifact from the work that is done, and enter every row into the stage's book.

    Raises:
        DataError: nothing is left.
    """
    folder, shards = context.folder / "data", range(len(read.shards))
    remove(folder)
    shelf = Shelf(folder, format)
    (folder / DROPPED).mkdir()
    all_groups = (Group(0, (), context.folder / "work"), *groups)
    funnel = Funnel()
    for shard in shards:
        accounts = [_account(group, shard) for group in all_groups]
        _enter(context, accounts)
        funnel.add(funnel_of(accounts))
        write_lines(folder / DROPPED / f"{part(shard)}.jsonl", _left_out(all_groups, shard))
        if record := accounts[-1].record:
            shelf.put(shard, record, read_shard(all_groups[-1].place / f"{part(shard)}.jsonl", record))
    funnel.rows, funnel.characters, funnel.words = shelf.rows, shelf.characters, shelf.words
    for group in groups:
        name, operator = group.steps[0]
        if operator.learns:
            operator.recall(group.learnt)
        funnel.passages[name].figures = dict(operator.figures())
    if not shelf.rows:
        raise DataError(f"no row is left: {funnel.told()}")
    contents = shelf.close()
    (folder / FUNNEL).write_text(f"{json_text(asdict(funnel), indent=1)}\n", encoding="utf-8")
    shelf.card(context.name, "curate", contents, left_out(funnel, folder))
    details = {"rows": contents.rows, "record": contents.record, "funnel": asdict(funnel)}
    return Artifact("data", str(folder), context.name, digest="", details=details)


def _account(group: Group, shard: int) -> Account:
    account = group.account(shard)
    if account is None:
        raise DataError(f"{group.place}: the account of shard {shard} is gone")
    return account


def _enter(context: StageContext, accounts: Sequence[Account]) -> None:
    """One shard's rows: what was read, what was made, and how each ended."""
    book, source = context.book, accounts[0]
    book.expect("row", [*source.kept, *(id for id, _, _ in source.dropped)])
    for account in accounts:
        book.owe("row", account.made)
        book.end("row", "replaced", account.replaced)
        for id, operator, reason in account.dropped:
            book.drop("row", f"{operator}: {reason}"[:80], id)
    book.end("row", "kept", accounts[-1].kept)


def _left_out(groups: Sequence[Group], shard: int) -> Iterator[dict[str, object]]:
    for group in groups:
        yield from read_objects(group.place / f"{part(shard)}.dropped.jsonl")


def dropped_rows(folder: Path) -> Iterator[dict[str, object]]:
    """What a stage's artifact says of the rows that it left out, in order."""
    for path in sorted((folder / DROPPED).glob("*.jsonl")):
        yield from read_objects(path)
