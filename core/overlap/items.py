"""The two sides: items of evaluations, and rows of training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aftertrain.core.records import Conversation, Document, Record, Role


@dataclass(frozen=True, slots=True)
class Item:
    """One question of an evaluation.

    Attributes:
        texts: what it asks, without worked examples and the task's own wording; a passage and its question are two.
    """

    id: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation set, by the name that results bear.

    Attributes:
        digest: SHA-256 of its items, in hex.
    """

    name: str
    items: Sequence[Item]
    digest: str


def distinct_sets(sets: Sequence[Evaluation]) -> list[Evaluation]:
    """The sets, without those that ask what an earlier one asks."""
    first = {each.digest: each for each in reversed(sets)}
    return [each for each in sets if first[each.digest] is each]


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """What of a training row is compared.

    Attributes:
        texts: by their turns, `turns` being which of the conversation's each is, from 0.
        where: file and line; "" where that is not known.
    """

    id: str
    source: str
    texts: tuple[str, ...]
    turns: tuple[int, ...]
    where: str = ""


def training_row(record: Record, roles: Sequence[Role], where: str = "") -> TrainingRow:
    """The texts of these roles; of a document its whole text. A preference pair's replies are no user's."""
    if isinstance(record, Document):
        return TrainingRow(record.id, record.source, (record.text,), (0,), where)
    messages = record.messages if isinstance(record, Conversation) else record.prompt
    turns = tuple(place for place, message in enumerate(messages) if message.role in roles and message.content)
    return TrainingRow(record.id, record.source, tuple(messages[turn].content for turn in turns), turns, where)
