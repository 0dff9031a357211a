"""The prompts of a stage: of any record what is to be replied to, and which are left out for which reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aftertrain.core.dataset import BadRow, Dataset
from aftertrain.core.errors import DataError
from aftertrain.core.operator import Row
from aftertrain.core.records import Conversation, Document, Feedback, Message, PreferencePair, Problem, Record

NO_PROMPT = "no_prompt"
"""Reason for a conversation in which nobody asks anything."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row of the data that is asked of no model.

    Attributes:
        reason: a word or two to count by.
        message: what was found.
        record: the row's; None where it makes none.
    """

    id: str
    reason: str
    message: str = ""
    record: Record | None = None


@dataclass(frozen=True)
class Prompts:
    """What is asked.

    Attributes:
        kept: as problems, in the order of the data; only those of problems have checks.
        left_out: likewise.
        known: what earlier stages found and did of a prompt's row, by its id; no entry where that is nothing.
    """

    kept: Sequence[Problem]
    left_out: Sequence[LeftOut] = field(default_factory=tuple)
    known: Mapping[str, Row] = field(default_factory=dict)

    def row(self, record: Record) -> Row:
        """A row of a prompt with what is known of it."""
        known = self.known.get(record.id)
        return Row(record) if known is None else known.with_record(record)

    def without(self, reasons: Mapping[str, str], reason: str) -> Prompts:
        """The same without some prompts.

        Args:
            reasons: by id what is wrong with them.
            reason: a word or two to count all of them by.
        """
        kept = [prompt for prompt in self.kept if prompt.id not in reasons]
        dropped = [
            LeftOut(prompt.id, reason, reasons[prompt.id], prompt) for prompt in self.kept if prompt.id in reasons
        ]
        return Prompts(kept, (*self.left_out, *dropped), self.known)


def read_prompts(data: Dataset[Any], name: str) -> Prompts:
    """All prompts of a data set.

    Args:
        name: the data set's, for messages.

    Raises:
        DataError: two rows have one id, by which everything is joined; documents ask nothing; or no prompt is left.
    """
    kept, left_out, seen, known = list[Problem](), list[LeftOut](), set[str](), dict[str, Row]()
    for made in data.made_rows():
        entry: Any = made if isinstance(made, BadRow) else made.record
        if entry.id in seen:
            raise DataError(f"data set {name!r} has two rows with the id {entry.id!r}; replies are kept by id")
        seen.add(entry.id)
        if isinstance(entry, BadRow):
            left_out.append(LeftOut(entry.id, entry.reason, entry.message))
            continue
        if not isinstance(made, BadRow) and (made.facts or made.history):
            known[entry.id] = made
        prompt = prompt_of(entry)
        if prompt:
            checks = entry.checks if isinstance(entry, Problem) else ()
            kept.append(Problem(entry.id, prompt, checks, entry.source, entry.license, entry.tools))
        else:
            left_out.append(LeftOut(entry.id, NO_PROMPT, "nothing stands before the assistant's turns", entry))
    if not kept:
        raise DataError(f"data set {name!r} has no prompts: {_counts(left_out) or 'it is empty'}")
    return Prompts(kept, tuple(left_out), known)


def prompt_of(record: Record) -> tuple[Message, ...]:
    """The turns that are replied to; of a conversation all up to the last that is not the assistant's.

    Raises:
        DataError: the record is a document.

    >>> turns = (Message("user", "Why?"), Message("assistant", "So."))
    >>> [turn.content for turn in prompt_of(Conversation("a", turns, "s"))]
    ['Why?']
    """
    match record:
        case Conversation():
            turns = record.messages
        case PreferencePair() | Feedback() | Problem():
            turns = record.prompt
        case Document():
            raise DataError(f"row {record.id!r} is a document, which asks nothing; prompts are problems, conversations")
    last = max((place for place, turn in enumerate(turns) if turn.role in ("user", "tool")), default=-1)
    return turns[: last + 1]


def _counts(left_out: Sequence[LeftOut]) -> str:
    counts: dict[str, int] = {}
    for row in left_out:
        counts[row.reason] = counts.get(row.reason, 0) + 1
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
