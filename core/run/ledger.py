"""The ledger of a run: a stage's book kept in its checkpoints, added over ranks, and checked when the stage is done."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from aftertrain.core.book import TOKENS, Account, Book, Sum, states_of
from aftertrain.core.errors import CheckpointError, RunError
from aftertrain.core.events import Balance
from aftertrain.core.ground.reading import CURE, NotNegative, read_json
from aftertrain.core.ranks import ALONE, Ranks

FILE = "ledger.json"
"""The book in a checkpoint's folder."""


@dataclass(frozen=True)
class Page:
    """One unit of a book in a checkpoint: counts and marks of what is owed and what ended."""

    owed: tuple[NotNegative, NotNegative]
    ended: tuple[NotNegative, NotNegative]
    owed_tokens: NotNegative | None
    states: dict[str, NotNegative]
    tokens: dict[str, NotNegative]

    @classmethod
    def of(cls, account: Account) -> Page:
        """An account without what the attempt began by stating: the next one states it again."""
        tokens, states = dict(account.tokens), dict(account.states)
        return cls(astuple(account.owed), astuple(account.ended), account.owed_tokens, states, tokens)


class Ledger:
    """Keeps the book of one attempt at a stage.

    Args:
        ranks: those that run the stage together, each with a book of its own.
    """

    def __init__(self, book: Book, ranks: Ranks = ALONE) -> None:
        self.book, self._ranks = book, ranks

    def save(self, folder: Path) -> None:
        """Write the book of all ranks into a checkpoint; every rank calls it."""
        total = self.total()
        if self._ranks.first:
            pages = {unit: asdict(Page.of(account)) for unit, account in total.items()}
            (folder / FILE).write_text(json.dumps(pages, indent=1) + "\n", encoding="utf-8")

    def restore(self, folder: Path) -> None:
        """Go on with what `save` wrote; rank 0 alone calls it.

        Raises:
            CheckpointError: it is not there (the checkpoint is of a version that kept no books), or is damaged.
        """
        if not (folder / FILE).exists():
            raise CheckpointError(
                f"{folder}: has no {FILE}: it is of a version of aftertrain that kept no books, so that nobody can say "
                "what became of the rows before it; start the stage anew with --restart"
            )
        pages: dict[str, Page] = read_json(folder / FILE, dict[str, Page], error=CheckpointError, cure=CURE)
        for unit, page in pages.items():
            self.book.accounts[unit] = Account(
                owed=Sum(*page.owed),
                ended=Sum(*page.ended),
                owed_tokens=page.owed_tokens,
                states=Counter(page.states),
                tokens=Counter(page.tokens),
            )

    def total(self) -> dict[str, Account]:
        """The books of all ranks as one: what rank 0 says is owed, and what ended in any; every rank calls it."""
        books = self._ranks.gather(self.book.accounts, "the stage's books")
        total = {unit: Account() for book in books for unit in book}
        for unit, account in total.items():
            if (first := books[0].get(unit)) is not None:
                account.expected, account.owed = first.expected, first.owed
                account.expected_tokens, account.owed_tokens = first.expected_tokens, first.owed_tokens
            for theirs in (book[unit] for book in books if unit in book):
                account.ended += theirs.ended
                account.states.update(theirs.states)
                account.tokens.update(theirs.tokens)
        return total

    def close(self, stage: str) -> dict[str, Balance]:
        """The balance of each unit, by its name; every rank calls it.

        Args:
            stage: its name, for messages.

        Raises:
            RunError: what ended is not what was owed, or tokens do not add up; says which unit and by how many.
        """
        total = self.total()
        faults = faults_of(total)
        if faults and self._ranks.first:
            raise RunError(
                f"stage {stage!r} ended with books that do not balance, and is not done: {'; '.join(faults)}. Its work "
                "may lack what it was to do, or hold it twice. That is a defect of the stage or of its plugin, not of "
                "your settings: report it with the run's events.jsonl; --restart does the stage anew"
            )
        return {
            unit: Balance(
                _owed(account).count, _ordered(account.states, states_of(unit)), _ordered(account.tokens, TOKENS)
            )
            for unit, account in total.items()
        }


def faults_of(accounts: Mapping[str, Account]) -> list[str]:
    """Where what ended is not what was owed, or tokens do not add up; empty of books that balance."""
    return [f"{unit}: {fault}" for unit, account in accounts.items() for fault in _faults(account)]


def worded(unit: str, owed: int, states: Mapping[str, int], tokens: Mapping[str, int]) -> str:
    """A balance in one line.

    >>> worded("row", 12, {"learnt": 9, "cut": 1, "dropped: overlong": 2}, {"learnt": 50, "context": 1000, "cut": 7})
    '12 rows: 9 learnt, 1 cut, 2 dropped: overlong; 1,057 tokens: 50 learnt, 1,000 context, 7 cut'
    """
    plural = unit if owed == 1 else f"{unit}s"
    line = f"{owed:,} {plural}: {_parts(states)}"
    return f"{line}; {sum(tokens.values()):,} tokens: {_parts(tokens)}" if any(tokens.values()) else line


def _parts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in counts.items() if count) or "none"


def _ordered(counts: Mapping[str, int], order: Iterable[str]) -> dict[str, int]:
    """What there is, in the order of the list; what the list does not hold comes last."""
    first = {name: counts[name] for name in order if counts.get(name)}
    return first | {name: count for name, count in sorted(counts.items()) if count}


def _owed(account: Account) -> Sum:
    return account.expected + account.owed


def _faults(account: Account) -> Iterable[str]:
    owed, ended = _owed(account), account.ended
    counts = f"{owed.count:,} owed, {ended.count:,} ended ({_parts(account.states)})"
    if ended.count < owed.count:
        yield f"{counts}: {owed.count - ended.count:,} lost"
    elif ended.count > owed.count:
        yield f"{counts}: {ended.count - owed.count:,} too many, counted twice or never owed"
    elif ended.mark != owed.mark:
        yield f"{counts}, but not the same ones: some were lost, and others counted in their place"
    if account.expected_tokens is None and account.owed_tokens is None:
        return
    tokens_owed, tokens = (account.expected_tokens or 0) + (account.owed_tokens or 0), sum(account.tokens.values())
    if tokens_owed != tokens:
        yield f"{tokens_owed:,} tokens owed, {tokens:,} accounted for ({_parts(account.tokens)})"
