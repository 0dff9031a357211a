"""`aftertrain plan`."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from aftertrain.cli.table import echo_safely
from aftertrain.core.ground.cleaning import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aftertrain.core.records import PlanItem

SECONDS_BETWEEN = 2.0
MARKS = {"ok": "", "warning": "warning: ", "error": "error: "}
COLOURS = {"ok": None, "warning": "yellow", "error": "red"}


@click.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[PATH=VALUE]...")
@click.option("--out", default="runs", show_default=True, metavar="DIR", help="Folder of runs.")
@click.option("--restart", is_flag=True, help="Plan as if nothing were done.")
def plan(recipe: str, overrides: tuple[str, ...], out: str, restart: bool) -> None:
    """Show what RECIPE would do: stages, what is reused, steps, sizes, tokens, checks. Loads no weights.

    Exits with 1 when a check fails that would keep the run from starting.
    """
    from aftertrain.api.runs import plan as plan_recipe

    with _few_collections():
        report = plan_recipe(recipe, overrides, out=out, restart=restart, told=_Progress())
    threads = "torch's choice" if report.threads is None else str(report.threads)
    click.secho(f"{report.name}", bold=True, nl=False)
    echo_safely(f"  in {report.folder}, seed {report.seed}, threads: {threads}")
    click.secho("\nmodel", bold=True)
    echo_items(report.model)
    for stage in report.stages:
        inputs = ", ".join(f"{role} {parent}" for role, parent in stage.inputs.items())
        click.secho(f"\n{stage.name}", bold=True, nl=False)
        echo_safely(f"  {stage.use}: {inputs} -> {stage.output}")
        identity = f" [{stage.hash[:12]}]" if stage.hash else ""
        echo_safely(f"  {stage.state}{identity}: {'; '.join(stage.why)}" if stage.why else f"  {stage.state}{identity}")
        echo_items(stage.items)
    if report.failed:
        failed = ", ".join(f"{where}: {item.label}" for where, item in report.failed)
        click.secho(f"\nThis run would not start; see above: {failed}.", fg="red", err=True)
        click.get_current_context().exit(1)


@contextmanager
def _few_collections() -> Iterator[None]:
    """Look for cycles seldom: imports and rows make hardly any, and looking took a tenth of a plan's time."""
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


class _Progress:
    """Tells on standard error how far a long plan is, not more often than every few seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, stage: str, words: str) -> None:
        if time.monotonic() - self._last >= SECONDS_BETWEEN:
            self._last = time.monotonic()
            click.echo(f"{stage}: {words}", err=True)


def echo_items(items: Sequence[PlanItem]) -> None:
    width = max((len(item.label) for item in items), default=0)
    for item in items:
        value = item.value.replace("\n", "\n" + " " * (width + 4))
        text = printable(f"  {item.label:<{width}}  {MARKS[item.status]}{value}", sys.stdout.encoding)
        click.echo(click.style(text, fg=COLOURS[item.status]) if COLOURS[item.status] else text)
