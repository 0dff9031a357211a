"""`aftertrain show rows`: what a stage handed on, or left out and why, page by page."""

from __future__ import annotations

from collections.abc import Sequence

import click

from aftertrain.cli.batch import echo_shown


def show_rows(words: Sequence[str], *, dropped: str | None, source: str | None, skip: int, number: int) -> None:
    """Show rows of a run's stage.

    Args:
        words: `RUN:STAGE`.
    """
    from aftertrain.api.made import page

    if len(words) != 1:
        raise click.UsageError("a run's stage: aftertrain show rows RUN:STAGE [--dropped OPERATOR] [--source S]")
    found = page(words[0], dropped=dropped, source=source, skip=skip, number=number)
    last = found.total if number == 0 else min(found.total, skip + number)
    shown = f"{skip + 1:,} to {last:,} of " if 0 < last - skip < found.total else ""
    click.secho(f"{found.name}: {shown}{found.total:,} {found.what}", bold=True)
    echo_shown(found.rows)
    if last < found.total:
        click.echo(f"\n… and {found.total - last:,} more (--skip {last}; -n 0 shows all)")
