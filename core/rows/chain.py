"""Rows of one shard through operators one after the other, and the account of what became of each.

Every row that goes into an operator comes out: as itself, changed or not; as `Dropped`; or as what was made of it,
which names it in `origin`. What an operator loses is an error, not a smaller data set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aftertrain.core.errors import AftertrainError, DataError
from aftertrain.core.ground.foreign import message_of, raised_at
from aftertrain.core.operator import Dropped, Operator, Row
from aftertrain.core.records import JSON

Step = tuple[str, Operator[Any]]
"""An operator, and the name by which the stage knows it."""


@dataclass
class Count:
    """What became of a shard's rows in one operator, by source.

    Attributes:
        came: rows that went in.
        kept: came out, changed or not.
        changed: came out with another record.
        made: new rows.
        replaced: rows in whose place others were made.
        dropped: by source and reason, as `source\\treason`.
    """

    came: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    made: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass
class Outcome:
    """What became of a shard.

    Attributes:
        rows: that came out, in order.
        dropped: with the name of the operator, in the order of the operators.
        made: ids of the rows that operators made.
        replaced: ids of the rows in whose place others were made.
        counts: by operator.
    """

    rows: list[Row]
    dropped: list[tuple[str, Dropped]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    counts: dict[str, Count] = field(default_factory=dict)


def through(rows: Iterable[Row], steps: Sequence[Step], seed: int) -> Outcome:
    """Rows through all steps.

    Raises:
        DataError: an operator lost a row, or gave an id twice.
    """
    outcome = Outcome(list(rows))
    for name, operator in steps:
        _step(outcome, name, operator, seed)
    return outcome


def _step(outcome: Outcome, name: str, operator: Operator[Any], seed: int) -> None:
    came = {row.id: row for row in outcome.rows}
    count = outcome.counts[name] = Count(came=Counter(row.source for row in came.values()))
    kept: dict[str, Row] = {}
    ended: set[str] = set()
    replacing: set[str] = set()
    for result in _applied(operator, name, outcome.rows, seed):
        if isinstance(result, Dropped):
            if result.row.id not in came:
                raise DataError(f"operator {name!r} dropped row {result.row.id!r}, which it was not given")
            if result.row.id in ended:
                raise DataError(f"operator {name!r} dropped row {result.row.id!r} twice")
            ended.add(result.row.id)
            outcome.dropped.append((name, replace(result, row=came[result.row.id])))
            count.dropped[f"{result.row.source}\t{result.reason}"] += 1
            continue
        if result.id in kept:
            raise DataError(
                f"operator {name!r} gave row {result.id!r} twice; a row that is made needs an id of its own"
            )
        before = came.get(result.id)
        parents = [came[id] for id in result.origin if id in came] if before is None else [before]
        kept[result.id] = _marked(result, before, parents, name)
        if before is not None:
            count.kept[result.source] += 1
            count.changed[result.source] += result.record != before.record
        else:
            outcome.made.append(result.id)
            replacing.update(result.origin)
            count.made[result.source] += 1
    twice = ended & kept.keys()
    if twice:
        raise DataError(f"operator {name!r} dropped row {min(twice)!r} and kept it")
    gone = [id for id in came if id not in kept and id not in ended]
    if lost := [id for id in gone if id not in replacing]:
        raise DataError(
            f"operator {name!r} lost {len(lost):,} of {len(came):,} rows, the first {lost[0]!r}: each comes out as "
            "itself, as Dropped, or is named in the origin of a row that was made of it"
        )
    outcome.replaced += gone
    count.replaced.update(came[id].source for id in gone)
    outcome.rows = list(kept.values())


def _applied(operator: Operator[Any], name: str, rows: Sequence[Row], seed: int) -> Iterator[Row | Dropped]:
    """What comes out; an error of the operator's own is told with the row that it was given last."""
    given: list[str] = []

    def each() -> Iterator[Row]:
        for row in rows:
            given[:] = [row.id]
            yield row

    try:
        yield from operator.apply(each(), seed)
    except AftertrainError:
        raise
    except Exception as error:
        at = f"at row {given[0]!r}" if given else "before its first row"
        told = f"{type(error).__name__}: {message_of(error)}{raised_at(error)}"
        raise DataError(f"operator {name!r} failed {at}: {told}") from error


def _marked(row: Row, before: Row | None, parents: Sequence[Row], name: str) -> Row:
    """With the operator's name before what it found, and in the history of what it changed or made."""

    def old(key: str, value: JSON) -> bool:
        return key.startswith(f"{name}.") or any(
            key in parent.facts and parent.facts[key] == value for parent in parents
        )

    facts = {key: parent.facts[key] for parent in parents for key in row.facts if key in parent.facts}
    facts |= {key if old(key, value) else f"{name}.{key}": value for key, value in row.facts.items()}
    touched = before is None or row.record != before.record
    return replace(row, facts=facts, history=(*row.history, name) if touched else row.history)


def named(uses: Iterable[tuple[str, Operator[Any]]]) -> Iterator[Step]:
    """The steps under names that none shares: the second `length` is `length#2`; one from a file goes by its class; one
    that tells what it is about, by that too."""
    seen: Counter[str] = Counter()
    for written, operator in uses:
        name = written.rpartition(":")[2]
        if about := operator.about():
            name = f"{name}:{about}"
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), operator
