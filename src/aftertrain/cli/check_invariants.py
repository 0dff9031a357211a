"""`aftertrain check-invariants`."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from aftertrain.invariants.finding import Finding

COLOURS = {"holds": "green", "broken": "red", "not checked": "yellow"}
WIDTHS = (13, 11, 7, 26, 26)
HEADER = ("invariant", "", "time", "largest deviation", "tolerance", "compared")


@click.command("check-invariants")
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[PATH=VALUE]...")
@click.option("--stage", metavar="NAME", help="Only this stage; by default every stage that trains.")
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    help="Take the first so many rows of each stage's data; by default 8, or short ones for a large model on a CPU.",
)
@click.option("--ranks/--no-ranks", default=True, help="Start two processes to compare one rank with two.")
@click.option("--json", "out", type=click.Path(path_type=Path), metavar="FILE", help="Write the table for machines.")
def check_invariants(
    *, recipe: str, overrides: tuple[str, ...], stage: str | None, rows: int | None, ranks: bool, out: Path | None
) -> None:
    """Measure what must not change a training step, on RECIPE's own model, loss, engine and rows.

    Packed or alone, chunked or full logits, one micro-batch or many, one process or two, cached or live reference,
    resumed or not: for each the largest deviation and its tolerance. Works on a few rows in a temporary folder; runs
    are neither read nor written. Exits with 1 when an invariant is broken.
    """
    from aftertrain.api import invariants

    if invariants.SHARE in os.environ:
        assert stage is not None
        invariants.write_share(recipe, overrides, stage, rows)
        return
    checked = invariants.check_invariants(
        recipe, overrides, stage=stage, rows=rows, ranks=ranks, on_finding=show_finding, on_start=show_start
    )
    broken = [f"{tried.stage}: {finding.invariant}" for tried in checked for finding in tried.broken]
    if out is not None:
        plain = {"recipe": recipe, "overrides": list(overrides), "stages": [tried.dump() for tried in checked]}
        out.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    findings = [finding for tried in checked for finding in tried.findings]
    counts = Counter(finding.state for finding in findings)
    seconds = sum(finding.seconds for finding in findings)
    click.echo(
        f"\n{counts['holds']} hold, {counts['broken']} broken, {counts['not checked']} not checked in {seconds:.0f} s"
    )
    if broken:
        click.secho(f"BROKEN: {', '.join(broken)}", fg="red", bold=True)
        click.get_current_context().exit(1)


def show_start(invariant: str) -> None:
    """On a terminal what is being measured, until its row takes the place."""
    if sys.stdout.isatty():
        click.echo(f"{invariant:<{WIDTHS[0]}}  …", nl=False)


def show_finding(stage: str, about: str, finding: Finding | None) -> None:
    """One row of the table, or a stage's heading."""
    if sys.stdout.isatty():
        click.echo("\r\033[K", nl=False)
    if finding is None:
        click.secho(f"\n{stage}", bold=True, nl=False)
        click.echo(f"  {about}")
        click.secho("  ".join(f"{word:<{width}}" for word, width in zip(HEADER, (*WIDTHS, 0), strict=True)), dim=True)
        return
    state = "BROKEN" if finding.state == "broken" else finding.state
    columns = (
        [(finding.invariant, state, f"{finding.seconds:.1f} s")],
        [
            (f"{m.name} {figure(m.deviation)}", "bits" if m.tolerance == 0 else f"{m.name} {m.tolerance:.0e}")
            for m in finding.measures
        ],
        [line for part in (finding.compared, finding.note) for line in textwrap.wrap(part, 70)],
    )
    for state_of, measure, text in zip_longest(*columns):
        invariant, mark, seconds = state_of or ("", "", "")
        deviation, tolerance = measure or ("", "")
        click.echo(f"{invariant:<{WIDTHS[0]}}  ", nl=False)
        click.secho(f"{mark:<{WIDTHS[1]}}", fg=COLOURS[finding.state], nl=False)
        click.echo(
            f"  {seconds:>{WIDTHS[2]}}  {deviation:<{WIDTHS[3]}}  {tolerance:<{WIDTHS[4]}}  {text or ''}".rstrip()
        )


def figure(value: float) -> str:
    """A deviation; counts and exact zeros as they are.

    >>> figure(0.0), figure(3.0), figure(1.234e-7)
    ('0', '3', '1.2e-07')
    """
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.1e}"
