"""`aftertrain plan`."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from aftertrain.cli.power import echo_evaluation_plan
from aftertrain.cli.table import echo_safely
from aftertrain.core.ground.cleaning import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aftertrain.core.records import PlanItem

SECONDS_BETWEEN = 2.0
MARKS = {"ok": "", "warning": "warning: ", "error": "error: "}
COLOURS = {"ok": None, "warning": "yellow", "error": "red"}


@click.command()
@click.argument("recipe", metavar="RECIPE|MODEL")
@click.argument("overrides", nargs=-1, metavar="[PATH=VALUE]... | TASK [SETTING=VALUE]...")
@click.option("--out", default="runs", show_default=True, metavar="DIR", help="Folder of runs.")
@click.option("--restart", is_flag=True, help="Plan as if nothing were done.")
@click.option("--limit", type=click.IntRange(1), help="Of tasks: at most so many questions of each.")
@click.option("--data", type=click.Path(), help="Of tasks: folder of benchmarks in the hub's columns.")
@click.option("--unseal", metavar="REASON", help="Of tasks: plan sealed ones as if scored with this reason.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Of tasks: replies are cut after so many tokens.")
@click.option("--set", "more", multiple=True, metavar="SETTING=VALUE", help="Of tasks: another setting of the stage.")
@click.option("--chat-template", help="Of tasks: named chat template in place of the tokenizer's own.")
@click.option(
    "--from", "earlier", nargs=2, metavar="RUN[:STAGE] RUN[:STAGE]", help="Of tasks: an earlier pair of runs."
)
@click.option("--detect", metavar="POINTS", help="Of tasks: how many questions find such a difference, as 2pt.")
@click.option("--rate", metavar="READ/WRITE", help="Of tasks: tokens a second, of prompts and of replies.")
def plan(  # noqa: PLR0917  click hands over options by name
    recipe: str,
    overrides: tuple[str, ...],
    out: str,
    restart: bool,
    limit: int | None,
    data: str | None,
    unseal: str | None,
    max_new_tokens: int | None,
    more: tuple[str, ...],
    chat_template: str | None,
    earlier: tuple[str, str] | None,
    detect: str | None,
    rate: str | None,
) -> None:
    """Show what RECIPE would do: stages, what is reused, steps, sizes, tokens, checks. Loads no weights.

    Exits with 1 when a check fails that would keep the run from starting.

    With MODEL and TASKs, or a suite of them, in its place: what `evaluate` would ask, in tokens and minutes, what is
    missing here, and the difference between two models that so many questions would find:
    aftertrain plan ./model gsm8k path=test.jsonl --detect 2pt --from base:eval tuned:eval.
    """
    settings = {"limit": limit, "data": data, "unseal": unseal, "max_new_tokens": max_new_tokens}
    given = {name: value for name, value in settings.items() if value is not None}
    if any("=" not in word for word in overrides):
        echo_evaluation_plan(
            recipe,
            overrides,
            given,
            more,
            chat_template=chat_template,
            earlier=earlier or (),
            detect=detect,
            rate=rate,
        )
        return
    if given or more or chat_template or earlier or detect or rate:
        raise click.UsageError("--limit, --data, --from, --detect, --rate … belong to: aftertrain plan MODEL TASK…")
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
