"""`aftertrain lineage`."""

from __future__ import annotations

import click

from aftertrain.cli.table import echo_safely


@click.command()
@click.argument("run", metavar="RUN")
def lineage(run: str) -> None:
    """Tell, for each stage of RUN (a run's folder, or its name under runs/), whether it was reused or redone, and
    what changed."""
    from aftertrain.api.history import history
    from aftertrain.api.report import find_run

    for stage in history(find_run(run)):
        click.secho(stage.name, bold=True, nl=False)
        echo_safely(f"  [{stage.hash[:12]}] {stage.state}")
        for reason in stage.why:
            echo_safely(f"  because {reason}")
        for role, parent in stage.inputs.items():
            echo_safely(f"  {role}: {parent}")
        for name, digest in stage.data.items():
            echo_safely(f"  data: {name} {digest[:12]}")
        if stage.others:
            echo_safely(f"  earlier: {', '.join(stage.others)}")
