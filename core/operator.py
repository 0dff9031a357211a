"""The operator interface: rows to rows. A filter, a scorer, a change or a maker of rows, of any data set.

    class Polite(Filter[Settings]):
        Config = NoSettings

        def dropped(self, row: Row) -> Dropped | None:
            return row.drop("no_thanks") if "thank" not in row.text else None

What comes out depends on the row and the seed alone, never on which other rows stand beside it, so that a data set may
be cut into shards that any number of processes work on. What must see all rows first (a duplicate, a quantile) says so
by `learns`, and gets them once, in their order, before the first is changed.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from aftertrain.core.component import Component
from aftertrain.core.records import (
    JSON,
    Conversation,
    Document,
    Feedback,
    Message,
    PreferencePair,
    Problem,
    Record,
)
from aftertrain.core.settings import Settings

S = TypeVar("S", bound=Settings)
RECORDS: Mapping[str, type[Record]] = {
    kind.__name__: kind for kind in (Conversation, Document, Feedback, PreferencePair, Problem)
}
"""The record types by name."""


@dataclass(frozen=True)
class Row:
    """A record on its way through operators.

    Attributes:
        facts: what operators found, as `operator.fact`: numbers, texts, or small JSON. An operator adds what it finds
            by its own names, and the stage puts the operator's before them.
        history: names of the operators that changed or made it, oldest first.
        origin: ids of the rows it was made from; empty for a row of the source.
    """

    record: Record
    facts: Mapping[str, JSON] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    origin: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The record's."""
        return self.record.id

    @property
    def source(self) -> str:
        """Of the record."""
        return self.record.source

    @cached_property
    def turns(self) -> tuple[Message, ...]:
        """All turns of the record: of a pair the prompt, the chosen and the rejected ones; of a document none."""
        record = self.record
        match record:
            case Conversation():
                return record.messages
            case PreferencePair():
                return (*record.prompt, *record.chosen, *record.rejected)
            case Feedback():
                return (*record.prompt, *record.reply)
            case Problem():
                return record.prompt
            case Document():
                return ()

    @property
    def texts(self) -> tuple[str, ...]:
        """Each text of the record: the content of its turns, or the document."""
        if isinstance(self.record, Document):
            return (self.record.text,)
        return tuple(turn.content for turn in self.turns)

    @property
    def text(self) -> str:
        """All its texts, with an empty line between two."""
        return "\n\n".join(self.texts)

    def said(self, role: str) -> str:
        """What one role says, with an empty line between two turns."""
        return "\n\n".join(turn.content for turn in self.turns if turn.role == role)

    def with_facts(self, found: Mapping[str, JSON]) -> Row:
        """The row, with these facts beside those it has."""
        return replace(self, facts={**self.facts, **found})

    def with_record(self, record: Record) -> Row:
        """The row with another record in place of its own."""
        return replace(self, record=record)

    def drop(self, reason: str, **evidence: JSON) -> Dropped:
        """The row left out.

        Args:
            reason: a word or two to count by.
            evidence: what shows it: the value and the bound, the duplicate's id, the words that were found.
        """
        return Dropped(self, reason, evidence)

    def random(self, seed: int, purpose: str = "") -> random.Random:
        """A generator of the row's own: the same whatever rows stand beside it."""
        return random.Random(f"{seed}/{purpose}/{self.id}")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that was left out.

    Attributes:
        row: as it was.
        reason: a word or two to count by.
        evidence: what shows it.
    """

    row: Row
    reason: str
    evidence: Mapping[str, JSON] = field(default_factory=dict)


class Operator(Component[S]):
    """Rows to rows. It may be constructed in several processes, each with rows of its own.

    Attributes:
        learns: whether it must see all rows before the first one is changed.
    """

    kind: ClassVar[str] = "operator"
    learns: bool = False
    takes: ClassVar[frozenset[str]] = frozenset(RECORDS)
    """Names of the record types that it can be given."""
    finds: ClassVar[Collection[str] | None] = None
    """Names of all facts that it may give a row, without its own before them; None: it does not say, and then no plan
    can tell that a fact of its name is none of them."""

    def gives(self, taken: type[Record]) -> type[Record]:
        """The type of the records that come out, for those that go in."""
        return taken

    def reads(self) -> Sequence[str]:
        """Whole names of the facts (`length.words`) that each row must have when it comes; by default none.

        A plan refuses one that neither the data nor an operator before gives it.
        """
        return ()

    def writes(self, taken: type[Record]) -> Collection[str] | None:
        """The same as `finds` (which it is by default), for a row of this record type and by the settings."""
        return self.finds

    def about(self) -> str:
        """A word that tells it from another of the same name in the books, `threshold:length.words`; "" for none."""
        return ""

    def fingerprint(self) -> str:
        """Hex digest of what decides the result beside settings and rows (files that it reads); "" for nothing.

        Raises:
            DataError: it cannot be read.
        """
        return ""

    def check(self) -> None:
        """Find what would keep it from working, before the first row.

        Raises:
            AftertrainError: something is missing here: a model, a package, a file.
        """

    def learn(self, rows: Iterable[Row], state: Path, seed: int) -> None:
        """See all rows, in their order, and write what was learnt into the folder `state`; asked where it `learns`.

        Memory must not grow with the number of rows by more than a few dozen bytes for each.
        """
        raise NotImplementedError(f"{type(self).__name__} learns, and does not say how")

    def recall(self, state: Path) -> None:
        """Take up what `learn` wrote, in each process that works on rows; asked where it `learns`."""

    def figures(self) -> Mapping[str, JSON]:
        """What it found of the rows as a whole, by name, for the data card and the report; asked after `recall`, once,
        and only where it `learns`.

        By default nothing.
        """
        return {}

    def bounds(self) -> Mapping[str, Sequence[float]]:
        """By a fact's whole name the values at which rows are left out, for the report's histograms; asked after
        `recall` where it `learns`.

        By default none. Each is a finite int or float.
        """
        return {}

    @abstractmethod
    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        """What becomes of rows. Of each row one thing or several come out: the row, changed or not, `Dropped`, others.

        A row that is made has an id of its own, begun by that of the row it comes from (`a/1`), and names it in
        `origin`. What is drawn, is drawn from `row.random(seed)`.

        Raises:
            DataError: a row cannot be worked on at all, and the data set with it; names the row.
        """


class Filter(Operator[S]):
    """Leaves rows out."""

    def writes(self, taken: type[Record]) -> Collection[str] | None:
        """Nothing, unless it has an `apply` of its own."""
        return () if type(self).apply is Filter.apply else self.finds

    @abstractmethod
    def dropped(self, row: Row) -> Dropped | None:
        """`row.drop(reason, …)` for a row to be left out, None for one to be kept."""

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        """Each row, or that it is dropped."""
        for row in rows:
            yield self.dropped(row) or row


class Scorer(Operator[S]):
    """Finds facts, and changes nothing. One that lists their names in `finds` has them checked by the plan."""

    @abstractmethod
    def facts(self, row: Row) -> Mapping[str, JSON]:
        """What is found, by name; the stage keeps it with the row as `operator.name`."""

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        """Each row, with what was found."""
        for row in rows:
            yield row.with_facts(self.facts(row))


class Change(Operator[S]):
    """Rewrites records one by one."""

    def writes(self, taken: type[Record]) -> Collection[str] | None:
        """Nothing, unless it has an `apply` of its own."""
        return () if type(self).apply is Change.apply else self.finds

    @abstractmethod
    def changed(self, row: Row) -> Any:
        """The record in place of the row's; the same one where nothing is to be changed."""

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        """Each row with its record changed."""
        for row in rows:
            record = self.changed(row)
            yield row if record is row.record else row.with_record(record)
