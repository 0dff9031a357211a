"""What the stage hands on: shards, what was left out, the funnel, the data card; and the ledger's entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from aftertrain.core.errors import DataError
from aftertrain.core.operator import Row
from aftertrain.core.records import Artifact
from aftertrain.core.rows.files import Format, part, read_objects, read_shard, write_lines
from aftertrain.core.rows.funnel import PARTS, Funnel, Passage, write_funnel
from aftertrain.core.rows.left_out import FOLDER as DROPPED
from aftertrain.core.rows.left_out import left_out
from aftertrain.core.rows.shelf import Shelf
from aftertrain.core.run.folder import remove
from aftertrain.core.stage import StageContext
from aftertrain.plugins.curation.card import told
from aftertrain.plugins.curation.source import Read
from aftertrain.plugins.curation.work import Account, Group


def publish(context: StageContext, read: Read, groups: Sequence[Group], format: Format) -> Artifact:
    """Write the artifact from the work that is done, and enter every row into the stage's book.

    Raises:
        DataError: nothing is left, or an operator's bound is no number.
    """
    folder, shards = context.folder / "data", range(len(read.shards))
    remove(folder)
    shelf = Shelf(folder, format)
    all_groups = (Group(0, (), context.folder / "work"), *groups)
    funnel = Funnel()
    for shard in shards:
        accounts = [_account(group, shard) for group in all_groups]
        _enter(context, accounts)
        funnel.add(_funnel_of(accounts))
        write_lines(folder / DROPPED / f"{part(shard)}.jsonl", _missed(_left_out(all_groups, shard), funnel))
        if record := accounts[-1].record:
            rows = read_shard(all_groups[-1].place / f"{part(shard)}.jsonl", record)
            shelf.put(shard, record, _seen(rows, funnel))
    funnel.rows, funnel.characters, funnel.words = shelf.rows, shelf.characters, shelf.words
    for group in groups:
        name, operator = group.steps[0]
        if operator.learns:
            operator.recall(group.learnt)
            funnel.passages[name].figures = dict(operator.figures())
        for by, step in group.steps:
            for fact, bounds in step.bounds().items():
                for bound in bounds:
                    funnel.bound(fact, bound, by)
    if not shelf.rows:
        raise DataError(f"no row is left: {funnel.told()}")
    contents = shelf.close()
    write_funnel(folder, funnel)
    shelf.card(context.name, "curate", contents, told(funnel, folder))
    figures = {name: passage.figures for name, passage in funnel.passages.items() if passage.figures}
    details = {"rows": contents.rows, "record": contents.record, **({"figures": figures} if figures else {})}
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


def _seen(rows: Iterable[Row], funnel: Funnel) -> Iterator[Row]:
    for row in rows:
        funnel.see(row)
        yield row


def _missed(lines: Iterable[dict[str, object]], funnel: Funnel) -> Iterator[dict[str, object]]:
    for line in lines:
        funnel.miss(left_out(line, "a row that was left out"))
        yield line


def _funnel_of(accounts: Sequence[Account]) -> Funnel:
    """Of one shard, from its accounts as it was read and in each group of operators."""
    source = accounts[0]
    bad: Counter[str] = Counter(reason for _, _, reason in source.dropped)
    found = Funnel(read=len(source.kept), bad=dict(bad))
    for account in accounts[1:]:
        for name, counts in account.counts.items():
            passage = found.passages[name] = Passage()
            for field in PARTS:
                setattr(passage, field, counts[field])
            for key, count in counts["dropped"].items():
                source_name, _, reason = key.partition("\t")
                passage.dropped.setdefault(reason, {})[source_name] = count
    return found
