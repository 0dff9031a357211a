"""Judging lines, each to one verdict, and the counts of it: what `aftertrain verify` does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING, Any

import click

from aftertrain.api.cases import case_of
from aftertrain.cli.agreement import COLUMN, Agreement
from aftertrain.cli.lines import chunks_of, read_row
from aftertrain.core.book import Book
from aftertrain.core.errors import RunError
from aftertrain.core.ground.cleaning import printable, unobeyed
from aftertrain.core.ground.wording import counted
from aftertrain.core.records import Verdict, VerificationCase

if TYPE_CHECKING:
    from aftertrain.core.verifier import Verifier

POOLED, UNPOOLED = 2048, 32
"""Cases read before they are judged: by a pool, which tells each verdict at once, or by a verifier that tells all."""
SHOWN = 200
"""Characters of the commonest error that the closing line shows."""
KINDS = 1000
"""Different errors that are counted."""
VERIFICATION = "verification"


@dataclass
class Tally:
    """Counts of one run."""

    outcomes: Counter[str] = field(default_factory=Counter)
    value: float = 0.0
    bad: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    agreement: Agreement = field(default_factory=Agreement)
    book: Book = field(default_factory=Book)

    def add(self, verdict: Verdict, label: float | None = None) -> None:
        """Count one, with people's label of its reply."""
        if label is not None:
            self.agreement.add(verdict, label)
        self.outcomes[verdict.outcome] += 1
        self.value += verdict.value or 0.0
        if verdict.outcome == "error" and (verdict.detail in self.errors or len(self.errors) < KINDS):
            self.errors[verdict.detail] += 1

    def facts(self) -> dict[str, Any]:
        """The counts as plain data, with F41's figures where lines have labels."""
        error = self.agreement.error()
        return {
            "verdicts": self.outcomes.total(),
            "outcomes": dict(self.outcomes),
            "score": self.value / self.outcomes["scored"] if self.outcomes["scored"] else None,
            "bad_lines": self.bad,
            **({} if error is None else {COLUMN: asdict(error)}),
        }


def summary(tally: Tally, seconds: float) -> str:
    """The closing line.

    >>> tally = Tally()
    >>> for verdict in (Verdict.scored(1), Verdict.scored(0), Verdict.unparsable()):
    ...     tally.add(verdict)
    >>> summary(tally, 0.5)
    '3 verdicts: 2 scored (mean 0.500), 1 unparsable; 6 verdicts/s'
    """
    parts = [
        f"{count:,} {outcome}" + (f" (mean {tally.value / count:.3f})" if outcome == "scored" else "")
        for outcome, count in sorted(tally.outcomes.items())
    ]
    counts = f": {', '.join(parts)}" if parts else ""
    bad = f"; {counted(tally.bad, 'bad line')} left out" if tally.bad else ""
    error = "".join(
        f"; commonest error ({counted(count, 'time')}): {detail if len(detail) <= SHOWN else detail[: SHOWN - 1] + '…'}"
        for detail, count in tally.errors.most_common(1)
    )
    speed = counted(round(tally.outcomes.total() / max(seconds, 1e-9)), "verdict")
    return f"{counted(tally.outcomes.total(), 'verdict')}{counts}{bad}{error}; {speed}/s"


def judge(
    verifier: Verifier[Any],
    lines: Iterable[bytes | None],
    out: IO[bytes],
    source: str,
    advance: Callable[[int], object] = lambda lines: None,
) -> Tally:
    """Judge batch by batch, and write each verdict as a line. A line that is None: no more come for now.

    Args:
        source: where the lines are from, for the message of a bad one.
        advance: told how many lines more are done.

    Raises:
        RunError: a line got no verdict, or two.
    """
    from aftertrain.core.run.ledger import faults_of
    from aftertrain.core.verification import Isolated

    tally = Tally()
    for chunk in chunks_of(lines, POOLED if isinstance(verifier, Isolated) else UNPOOLED):
        cases, labels, numbers = [], [], []
        filled = [(number, line) for number, line in chunk if line.strip()]
        tally.book.owe(VERIFICATION, [number for number, _ in filled])
        for number, line in filled:
            try:
                row = read_row(line, number)
                case = case_of(row, number, needs_truth=verifier.needs_truth)
                labels.append(tally.agreement.label(row, number))
                cases.append(case)
                numbers.append(number)
            except (ValueError, TypeError) as error:
                tally.bad += 1
                tally.book.drop(VERIFICATION, "bad line", number)
                click.echo(printable(f"{source}:{number}: {error}; this line is left out"), err=True)
        for (case, verdict), label, number in zip(in_order(verifier, cases), labels, numbers, strict=False):
            tally.add(verdict, label)
            tally.book.end(VERIFICATION, verdict.outcome, number)
            out.write(verdict_line(case, verdict, label))
            out.flush()  # whoever waits at a pipe sees it, and a stop loses nothing that was judged
            advance(1)
        advance(len(chunk) - len(cases))
    if faults := faults_of(tally.book.accounts):
        raise RunError(
            f"{source}: not every line got one verdict: {'; '.join(faults)}. That is a defect of the verifier or of "
            "aftertrain, not of your lines: report it with them; what was written is no whole result"
        )
    return tally


def verdict_line(case: VerificationCase, verdict: Verdict, label: float | None) -> bytes:
    """A verdict as JSON; lone surrogates, which UTF-8 has no bytes for, stay JSON escapes."""
    line = {
        "id": case.id,
        "outcome": verdict.outcome,
        "score": verdict.value,
        "extracted": verdict.extracted,
        "detail": verdict.detail,
        **({} if label is None else {COLUMN: label}),
    }
    return unobeyed(json.dumps(line, ensure_ascii=False)).encode("utf-8", "backslashreplace") + b"\n"


def in_order(verifier: Verifier[Any], cases: Sequence[VerificationCase]) -> Iterator[tuple[VerificationCase, Verdict]]:
    """Each case with its verdict, as soon as those before it are known too."""
    from aftertrain.core.verification import stream

    early: dict[int, Verdict] = {}
    place = 0
    for index, verdict in stream(verifier, cases):
        early[index] = verdict
        while place in early:
            yield cases[place], early.pop(place)
            place += 1
