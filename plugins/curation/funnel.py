"""The account of a stage of rows for people: rows in to rows out by operator and source, and sizes of what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aftertrain.plugins.curation.work import Account

TAB = "\t"
PARTS = ("came", "kept", "changed", "made", "replaced")


@dataclass
class Passage:
    """One operator, or the source.

    Attributes:
        came: rows that went in, by source.
        kept: came out, by source.
        changed: of these with another record, by source.
        made: new rows, by source.
        replaced: rows in whose place others were made, by source.
        dropped: rows left out, by reason and then by source.
        figures: what the operator found of all rows that came.
    """

    came: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    replaced: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def left_out(self) -> int:
        """How many rows were left out."""
        return sum(sum(by_source.values()) for by_source in self.dropped.values())


@dataclass
class Funnel:
    """All operators in their order, and the sizes of what is left.

    Attributes:
        read: rows of the source that make a record.
        bad: those that make none, by reason.
        characters: of all texts of the rows that are left.
        words: of the same, as divided by white space.
    """

    read: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    passages: dict[str, Passage] = field(default_factory=dict)
    rows: int = 0
    characters: int = 0
    words: int = 0

    def add(self, other: Funnel) -> None:
        """Add the account of another shard."""
        self.read += other.read
        _add(self.bad, other.bad)
        for name, passage in other.passages.items():
            own = self.passages.setdefault(name, Passage())
            for part in PARTS:
                _add(getattr(own, part), getattr(passage, part))
            for reason, by_source in passage.dropped.items():
                _add(own.dropped.setdefault(reason, {}), by_source)

    def told(self) -> str:
        """In one line: what each operator left out."""
        parts = [f"{name} left out {passage.left_out:,}" for name, passage in self.passages.items() if passage.left_out]
        return f"of {self.read:,} rows {', '.join(parts) or 'none was left out'}"


def funnel_of(accounts: Sequence[Account]) -> Funnel:
    """Of one shard, from its accounts as it was read and in each group of operators."""
    source = accounts[0]
    bad: Counter[str] = Counter(reason for _, _, reason in source.dropped)
    found = Funnel(read=len(source.kept), bad=dict(bad))
    for account in accounts[1:]:
        for name, counts in account.counts.items():
            passage = found.passages[name] = Passage()
            for part in PARTS:
                _add(getattr(passage, part), counts[part])
            for key, count in counts["dropped"].items():
                source_name, _, reason = key.partition(TAB)
                passage.dropped.setdefault(reason, {})[source_name] = count
    return found


def _add(own: dict[str, int], other: dict[str, Any]) -> None:
    for key, count in other.items():
        own[key] = own.get(key, 0) + count
