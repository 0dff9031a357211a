"""The processes that work together on a stage (F42), as stages and engines see them: here one that is alone.

A stage is given them with its context and hands them to every engine that it loads. They come by no other way, so that
whoever adds up over ranks adds up over those that share the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


class Ranks:
    """The processes that work together: one, unless a subclass says otherwise.

    Attributes:
        rank: this process's number; rank 0 alone writes events, manifests and checksums.
        size: how many there are.
        local: its number on its machine, which is also its GPU's.
    """

    def __init__(self, rank: int = 0, size: int = 1, local: int = 0) -> None:
        self.rank, self.size, self.local = rank, size, local

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def sum(self, sums: Mapping[str, float], what: str = "sums") -> dict[str, float]:
        """Each entry added over all ranks in their order, in float64; an entry that a rank lacks counts 0 there."""
        total: dict[str, float] = {}
        for mine in self.gather(dict(sums), what):
            for name, value in mine.items():
                total[name] = total.get(name, 0.0) + value
        return total

    def gather(self, value: T, what: str) -> list[T]:
        """Every rank's value, in the order of ranks."""
        return [value]

    def share(self, value: T, what: str) -> T:
        """Rank 0's value."""
        return self.gather(value if self.first else None, what)[0]  # type: ignore[return-value]

    def any(self, flag: bool, what: str) -> bool:
        """Whether the flag is set on some rank."""
        return any(self.gather(flag, what))

    def meet(self, what: str) -> None:
        """Wait until every rank is here."""
        self.gather(None, what)

    def add(self, tensors: Sequence[Tensor], what: str) -> None:
        """Replace each tensor by its sum over all ranks, in place; all of one dtype, the same shapes on every rank.

        All ranks end with the same bits.
        """

    def together(self, what: str) -> AbstractContextManager[None]:
        """Around calls that need every rank.

        Raises:
            RankLost: another rank is gone.
        """
        return nullcontext()


ALONE = Ranks()
"""A process that works for itself, whatever the run has."""
