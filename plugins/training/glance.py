"""One look at all rows of a data set, however many: their number, the bad ones, and an even sample of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aftertrain.core.dataset import BadRow, Dataset
from aftertrain.core.records import Message
from aftertrain.plugins.training.columns import Fault

SAMPLE = 2_000
"""Rows that a plan tokenises; of more, every second, fourth, eighth … is kept."""
CHARACTERS = 8_000_000
"""Characters that it tokenises, some five seconds' worth; of longer rows fewer are kept."""
TOLD_EVERY = 50_000


@dataclass(frozen=True, slots=True)
class Glance:
    """What was seen of a data set.

    Attributes:
        n_rows: rows in all, bad ones included; fewer where `enough` bad ones ended the look.
        stride: of so many rows one is in the sample.
        sample: rows 0, stride, 2·stride … as `Dataset.entries` yields them.
        faults: all bad rows.
    """

    n_rows: int
    stride: int
    sample: tuple[Any, ...]
    faults: tuple[Fault, ...]


def glance(data: Dataset[Any], enough: int, told: Callable[[int], None] = lambda rows: None) -> Glance:
    """Read all rows once.

    Args:
        enough: bad rows after which no more is read.
        told: told how many rows are read.

    Raises:
        DataError: the data as a whole cannot be read.
    """
    sample: list[Any] = []
    sizes: list[int] = []
    faults: list[Fault] = []
    stride, number, characters = 1, -1, 0

    def wanted(row: int) -> bool:
        return row % stride == 0

    for number, entry in enumerate(data.survey(wanted)):
        if isinstance(entry, BadRow):
            faults.append(Fault(number, entry.id, entry.reason, entry.message))
            if len(faults) >= enough:
                break
        if wanted(number):
            sample.append(entry)
            sizes.append(sum(map(len, _texts(entry))))
            characters += sizes[-1]
            while len(sample) > SAMPLE or (characters > CHARACTERS and len(sample) > 1):
                stride *= 2
                del sample[1::2], sizes[1::2]
                characters = sum(sizes)
        if (number + 1) % TOLD_EVERY == 0:
            told(number + 1)
    return Glance(number + 1, stride, tuple(sample), tuple(faults))


def _texts(entry: Any) -> Iterator[str]:
    """The texts that are tokenised of a record."""
    for name in ("text", "messages", "prompt", "chosen", "rejected", "reply"):
        value = getattr(entry, name, ())
        if isinstance(value, str):
            yield value
        else:
            yield from (turn.content + turn.reasoning for turn in value if isinstance(turn, Message))
