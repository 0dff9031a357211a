"""`aftertrain verify`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from aftertrain.cli.judging import judge, summary
from aftertrain.cli.lines import STANDARD, read_lines
from aftertrain.core.errors import DataError
from aftertrain.core.ground.cleaning import printable

if TYPE_CHECKING:
    from aftertrain.core.verifier import Verifier


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
        tally = judge(verifier, read_lines(cases), _output(out, stack), cases, _bar(stack, cases))
    seconds = time.perf_counter() - started
    for line in (summary(tally, seconds), *tally.agreement.lines()):
        click.echo(printable(line), err=True)
    if facts is not None:
        with ExitStack() as stack:
            _output(facts, stack).write(json.dumps(tally.facts(), indent=1).encode() + b"\n")
    if tally.bad:
        raise click.exceptions.Exit(1)


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


def _output(out: str, stack: ExitStack) -> IO[bytes]:
    if out == STANDARD:
        return sys.stdout.buffer
    try:
        return stack.enter_context(open(out, "wb"))
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}") from error


def _bar(stack: ExitStack, source: str) -> Callable[[int], object]:
    """Moves a progress bar when someone watches; its length is known for plain files only."""
    if not sys.stderr.isatty():
        return lambda lines: None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    total = None
    if source != STANDARD and not source.endswith(".gz"):
        with open(source, "rb") as file:
            total = sum(1 for _ in file)
    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    return partial(progress.advance, progress.add_task("", total=total))
