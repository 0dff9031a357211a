"""The dataset interface: a re-iterable source of typed records with a content fingerprint."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from aftertrain.core.component import Component
from aftertrain.core.operator import Row
from aftertrain.core.records import Record
from aftertrain.core.settings import Settings

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class BadRow:
    """Stands among the records for a row that makes none.

    Attributes:
        id: as a record's: unique, and known to `Dataset.where`.
        reason: one word for counts: `unknown_role`, `not_json` …
        message: what was expected and what was found, without where the row stands.
    """

    id: str
    reason: str
    message: str


class Dataset(Component[S]):
    """Yields records of one type.

    Iterating twice gives equal records in the same order; ids are unique and do not depend on the order of other rows.
    """

    kind: ClassVar[str] = "dataset"

    @property
    @abstractmethod
    def record_type(self) -> type[Record]:
        """`Conversation`, `Document`, `PreferencePair`, `Feedback` or `Problem`: what iteration yields."""

    @abstractmethod
    def __iter__(self) -> Iterator[Any]:
        """The records, in a fixed order.

        Raises:
            DataError: a row does not fit; names file, line and field.
        """

    def entries(self) -> Iterator[Any]:
        """The records as iteration yields them, and in place of a row that makes none a `BadRow`.

        Training reads this, so that bad rows can be counted and named together, or left out. By default iteration
        itself, whose first bad row stops it.

        Raises:
            DataError: the data as a whole cannot be read.
        """
        return iter(self)

    def made_rows(self) -> Iterator[Row | BadRow]:
        """The entries as rows, with what operators of earlier stages found and did, for who goes on with it.

        By default rows that know of nothing. A data set that holds others and hands their records on unchanged hands
        on theirs.
        """
        return (entry if isinstance(entry, BadRow) else Row(entry) for entry in self.entries())

    def fact_names(self) -> Collection[str] | None:
        """Names of all facts that `made_rows` has; None where that is not known before they are read.

        By default none, unless the data set has a `made_rows` of its own.
        """
        return () if type(self).made_rows is Dataset.made_rows else None

    def survey(self, wanted: Callable[[int], bool]) -> Iterator[Any]:
        """The entries, None in place of records that are not wanted, where it is cheaper to see that a row makes one.

        A plan reads this, which counts all rows and looks at few. By default the entries themselves.

        Args:
            wanted: whether the record of a row is, by the row's number (from 0); asked once, just before that row.

        Raises:
            DataError: the data as a whole cannot be read.
        """
        return self.entries()

    def notes(self) -> Sequence[str]:
        """What a user should know of the data before training on it, a sentence each; told in the plan."""
        return ()

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digest of the *content* (the bytes of the files, or what the rows are generated from).

        Equal fingerprints mean equal records.
        """

    def content(self) -> str:
        """Hex digest of what decides the records beside the settings, such as the bytes of files.

        This is what the hash of a stage holds beside the settings; by default the fingerprint, with which a changed
        setting is told as content that may have changed.
        """
        return self.fingerprint()

    def where(self, ids: Collection[str]) -> dict[str, str]:
        """Where the rows of these ids stand (`file:line`), for messages; those not known are absent. May be slow."""
        return {}

    def __len__(self) -> int:
        """Number of records and bad rows; by default counted by reading them."""
        return sum(1 for _ in self.entries())
