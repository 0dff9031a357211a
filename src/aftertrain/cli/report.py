"""`aftertrain report`."""

from __future__ import annotations

import click

from aftertrain.cli.table import echo_safely


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--out", metavar="FILE", type=click.Path(dir_okay=False), help="The file; RUN/report.html by default.")
def report(run: str, out: str | None) -> None:
    """Write the report of RUN (a run's folder, or its name under runs/) as one HTML file that needs no network.

    It shows scores with intervals, training curves, replies side by side, verifier outcomes, settings, lineage and
    hardware. A run that failed or is not finished is reported as far as it came.
    """
    from aftertrain.api.report import report as write_report

    echo_safely(str(write_report(run, out)))
