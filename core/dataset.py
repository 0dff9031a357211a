"""The dataset interface: a re-iterable source of typed records with a content fingerprint."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator
from typing import Any, ClassVar, TypeVar

from aftertrain.core.component import Component
from aftertrain.core.records import Record
from aftertrain.core.settings import Settings

S = TypeVar("S", bound=Settings)


class Dataset(Component[S]):
    """Yields records of one type.

    Iterating twice gives equal records in the same order; ids are unique and do not depend on the order of other rows.
    """

    kind: ClassVar[str] = "dataset"

    @property
    @abstractmethod
    def record_type(self) -> type[Record]:
        """`Conversation`, `PreferencePair`, `Feedback` or `Problem`: what iteration yields."""

    @abstractmethod
    def __iter__(self) -> Iterator[Any]:
        """The records, in a fixed order.

        Raises:
            DataError: a row does not fit; names file, line and field.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digest of the *content* (the bytes of the files, or what the rows are generated from).

        Equal fingerprints mean equal records; it enters the hash of every stage that reads this data.
        """

    def where(self, ids: Collection[str]) -> dict[str, str]:
        """Where the records of these ids stand (`file:line`), for messages; those not known are absent. May be slow."""
        return {}

    def __len__(self) -> int:
        """Number of records; by default counted by iterating."""
        return sum(1 for _ in self)
