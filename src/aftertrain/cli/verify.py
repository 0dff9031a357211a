"""`aftertrain verify`."""

from __future__ import annotations

import gzip
import json
import os
import select
import signal
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from aftertrain.api.cases import case_of
from aftertrain.cli.agreement import COLUMN, Agreement
from aftertrain.core.book import Book
from aftertrain.core.errors import DataError, RunError
from aftertrain.core.ground.cleaning import printable, unobeyed
from aftertrain.core.records import Verdict, VerificationCase

if TYPE_CHECKING:
    from aftertrain.core.verifier import Verifier

POOLED, UNPOOLED = 2048, 32
"""Cases read before they are judged: by a pool, which tells each verdict at once, or by a verifier that tells all."""
CHARACTERS = 4_000_000
"""Bytes of lines after which no more are read before they are judged."""
SHOWN = 200
"""Characters of the commonest error that the closing line shows."""
KINDS = 1000
"""Different errors that are counted."""
STANDARD = "-"
VERIFICATION = "verification"
PAUSE = 0.02
"""Seconds without input after which what has been read is judged."""


@click.command()
@click.argument("name")
@click.argument("cases")
@click.argument("settings", nargs=-1, metavar="[SETTING=VALUE]...")
@click.option("--out", default=STANDARD, show_default="standard output", metavar="FILE", help="Where verdicts go.")
@click.option("--workers", type=click.IntRange(1), show_default="CPU cores, at most 8", help="Judging processes.")
@click.option(
    "--timeout",
    "--deadline",
    "timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    show_default="the verifier's own",
    help="What one case may take before it is a timeout.",
)
@click.option("--json", "facts", metavar="FILE", help="Write the counts, and the error against people, for machines.")
def verify(  # noqa: PLR0917 - click passes by name
    name: str,
    cases: str,
    settings: tuple[str, ...],
    out: str,
    workers: int | None,
    timeout: float | None,
    facts: str | None,
) -> None:
    """Judge the responses in CASES (JSON lines, .gz or not, - for standard input) with the verifier NAME.

    Each line holds response, ground_truth (a string or JSON; not for verifiers that need none), and optionally prompt,
    id (else its line number) and source (its data set, which by_source goes by). A verdict line holds id, outcome,
    score, extracted and detail, which begins with the part that was judged where that is not the whole reply, in the
    order of the input. A bad line is told by its number and left out; the others go on, and the exit status is 1.
    Where every line also holds human, people's label of the response (true, false, or a number from 0 to 1), the
    verifier's error against people is told: E (F41), false positives and false negatives, with 95 % intervals.
    Cases are judged in processes that can be killed: one that hangs or crashes costs its own verdict only. A verifier
    that holds a model bounds its own time.
    """
    from aftertrain.api.evaluation import isolated_verifier
    from aftertrain.core.verification import PoolSettings

    verifier = isolated_verifier(name, settings, PoolSettings(workers=workers, timeout=timeout))
    if cases != STANDARD and not Path(cases).is_file():
        what = "is a folder; name a file of JSON lines" if Path(cases).is_dir() else "there is no such file"
        raise DataError(f"{cases}: {what}")
    for option, target in (("--out", out), ("--json", facts)):
        if target is not None and Path(target).exists() and Path(cases).exists() and os.path.samefile(target, cases):
            raise DataError(f"{target}: the verdicts would overwrite the cases; give another {option}")
    if verifier.note:
        click.echo(f"note: {verifier.note}", err=True)
    if timeout is not None and (free := _own_time(verifier)):
        click.echo(f"note: --timeout does not bound {', '.join(free)}", err=True)
    started = time.perf_counter()
    with ExitStack() as stack, _ended_like_ctrl_c():
        tally = judge(verifier, _lines(cases), VerdictWriter(_output(out, stack)), _bar(stack, cases), cases)
    seconds = time.perf_counter() - started
    for told in (summary(tally, seconds), *tally.agreement.lines()):
        click.echo(printable(told), err=True)
    if facts is not None:
        with ExitStack() as stack:
            _output(facts, stack).write(json.dumps(tally.facts(), indent=1).encode() + b"\n")
    if tally.bad:
        raise click.exceptions.Exit(1)


@dataclass
class Tally:
    """Counts of one run."""

    outcomes: Counter[str] = field(default_factory=Counter)
    value: float = 0.0
    bad: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    agreement: Agreement = field(default_factory=Agreement)
    book: Book = field(default_factory=Book)

    @property
    def judged(self) -> int:
        """Verdicts given."""
        return sum(self.outcomes.values())

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
            "verdicts": self.judged,
            "outcomes": dict(self.outcomes),
            "score": self.value / self.outcomes["scored"] if self.outcomes["scored"] else None,
            "bad_lines": self.bad,
            **({} if error is None else {COLUMN: asdict(error)}),
        }


class VerdictWriter:
    """Verdicts as JSON lines; lone surrogates, which UTF-8 has no bytes for, stay JSON escapes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream

    def write(self, case: VerificationCase, verdict: Verdict, label: float | None) -> None:
        """One line."""
        line = {
            "id": case.id,
            "outcome": verdict.outcome,
            "score": verdict.value,
            "extracted": verdict.extracted,
            "detail": verdict.detail,
            **({} if label is None else {COLUMN: label}),
        }
        self.stream.write(unobeyed(json.dumps(line, ensure_ascii=False)).encode("utf-8", "backslashreplace") + b"\n")
        self.stream.flush()  # whoever waits at a pipe sees it, and a stop loses nothing that was judged


def judge(
    verifier: Verifier[Any], lines: Iterable[bytes | None], writer: VerdictWriter, bar: Any, source: str
) -> Tally:
    """Judge batch by batch; `bar` is told how many lines are done. A line that is None: no more come for now.

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
        by_outcome: dict[str, list[int]] = {}
        for (case, verdict), label, number in zip(in_order(verifier, cases), labels, numbers, strict=False):
            tally.add(verdict, label)
            writer.write(case, verdict, label)
            by_outcome.setdefault(verdict.outcome, []).append(number)
            bar.advance(1)
        for outcome, ended in by_outcome.items():
            tally.book.end(VERIFICATION, outcome, ended)
        bar.advance(len(chunk) - len(cases))
    if faults := faults_of(tally.book.accounts):
        raise RunError(
            f"{source}: not every line got one verdict: {'; '.join(faults)}. That is a defect of the verifier or of "
            "aftertrain, not of your lines: report it with them; what was written is no whole result"
        )
    return tally


def chunks_of(lines: Iterable[bytes | None], most: int) -> Iterator[list[tuple[int, bytes]]]:
    """Numbered lines, at most so many at a time and few enough to hold in memory; fewer where the input pauses."""
    chunk: list[tuple[int, bytes]] = []
    size = number = 0
    for line in lines:
        if line is not None:
            number += 1
            chunk.append((number, line))
            size += len(line)
        if chunk and (line is None or len(chunk) == most or size >= CHARACTERS):
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


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


def read_row(line: bytes, number: int) -> dict[str, Any]:
    """What is on an input line.

    Raises:
        ValueError: it is not UTF-8 or not a JSON object.
    """
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8").strip())
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"a JSON object is needed, found {type(row).__name__}")
    return row


def summary(tally: Tally, seconds: float) -> str:
    """The closing line.

    >>> tally = Tally()
    >>> for verdict in (Verdict.scored(1), Verdict.scored(0), Verdict.unparsable()):
    ...     tally.add(verdict)
    >>> summary(tally, 0.5)
    '3 verdicts: 2 scored (mean 0.500), 1 unparsable; 6 verdicts/s'
    """
    scored = tally.outcomes["scored"]
    parts = [
        f"{count:,} {outcome}" + (f" (mean {tally.value / scored:.3f})" if outcome == "scored" else "")
        for outcome, count in sorted(tally.outcomes.items())
    ]
    counts = f": {', '.join(parts)}" if parts else ""
    bad = f"; {tally.bad:,} bad lines left out" if tally.bad else ""
    error = "".join(
        f"; commonest error ({count:,} times): {detail if len(detail) <= SHOWN else detail[: SHOWN - 1] + '…'}"
        for detail, count in tally.errors.most_common(1)
    )
    return f"{tally.judged:,} verdicts{counts}{bad}{error}; {tally.judged / max(seconds, 1e-9):,.0f} verdicts/s"


def _own_time(verifier: Verifier[Any]) -> list[str]:
    """Those of a verifier and its parts that no pool judges, with what bounds their time."""
    from aftertrain.core.verification import Isolated

    if verifier.parts:
        return list(dict.fromkeys(name for part in verifier.parts for name in _own_time(part)))
    if isinstance(verifier, Isolated):
        return []
    own = "its own setting timeout does" if "timeout" in type(verifier.settings).model_fields else "it bounds itself"
    return [f"{type(verifier).__name__} ({own})"]


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does: files are closed and the judging processes killed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lines(source: str) -> Iterator[bytes | None]:
    if source == STANDARD:
        try:
            descriptor = sys.stdin.fileno()
        except OSError:  # no stream of the system's, as where a program has put its own in place
            yield from sys.stdin.buffer
        else:
            yield from as_they_come(descriptor)
        return
    try:
        with gzip.open(source) if source.endswith(".gz") else open(source, "rb") as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{source}: cannot be read: {error}") from error


def as_they_come(descriptor: int) -> Iterator[bytes | None]:
    """Lines of a stream; None as often as it has no more for now, so that nobody waits for what is known."""
    begun: list[bytes] = []
    while part := os.read(descriptor, 2**16):
        first, *others = part.split(b"\n")
        begun.append(first)
        if others:
            yield b"".join(begun)
            yield from others[:-1]
            begun = [others[-1]]
        if not select.select([descriptor], [], [], PAUSE)[0]:
            yield None
    if rest := b"".join(begun):
        yield rest


def _output(out: str, stack: ExitStack) -> IO[bytes]:
    if out == STANDARD:
        return sys.stdout.buffer
    try:
        return stack.enter_context(open(out, "wb"))
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}") from error


class NoBar:
    def advance(self, lines: int) -> None:
        """Nobody watches."""


class _Bar:
    def __init__(self, stack: ExitStack, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
        self._task = self._progress.add_task("", total=total)

    def advance(self, lines: int) -> None:
        """So many lines more are done."""
        self._progress.advance(self._task, lines)


def _bar(stack: ExitStack, source: str) -> _Bar | NoBar:
    """A progress bar when someone watches; its length is known for plain files only."""
    if not sys.stderr.isatty():
        return NoBar()
    if source == STANDARD or source.endswith(".gz"):
        return _Bar(stack, None)
    with open(source, "rb") as file:
        return _Bar(stack, sum(1 for _ in file))
