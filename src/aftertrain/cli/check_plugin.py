"""`aftertrain check-plugin`."""

from __future__ import annotations

import textwrap
from collections import Counter

import click

from aftertrain.cli.table import echo_safely
from aftertrain.core.ground.wording import counted


@click.command("check-plugin")
@click.argument("name")
@click.option("-v", "--verbose", is_flag=True, help="Show the promises that are kept, too.")
@click.pass_context
def check_plugin(ctx: click.Context, name: str, verbose: bool) -> None:
    """Check that NAME keeps its promises: an installed plugin, or a class in a file (./my_loss.py:Hinge).

    Each kind has its own promises (docs: "What a plugin promises"). Exits with 1 when one is broken.
    """
    from aftertrain.testing import findings

    marks = {"kept": click.style("kept", fg="green"), "broken": click.style("BROKEN", fg="red", bold=True)}
    counts: Counter[str] = Counter()
    subject = ""
    shown: set[str] = set()
    for finding in findings(name):
        counts[finding.state] += 1
        here = finding.claim.subject
        if here != subject:
            click.echo(click.style(here, bold=True))
            subject = here
            shown.clear()
        if finding.state == "kept" and not verbose:
            continue
        mark = marks.get(finding.state, click.style("unchecked", fg="yellow"))
        click.echo(f"  {mark}: {finding.claim.words}")
        # What the component raises, it raises under many promises; its traceback is told once.
        head = finding.message.partition("\n")[0]
        if head:
            echo_safely(textwrap.indent(head if head in shown else finding.message, "    "))
        shown.add(head)
    kept = counted(counts["kept"], "promise")
    click.echo(f"{kept} kept, {counts['broken']} broken, {counts['unchecked']} could not be checked.")
    if counts["broken"]:
        ctx.exit(1)
