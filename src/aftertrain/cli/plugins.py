"""`aftertrain plugins`."""

from __future__ import annotations

import click

from aftertrain.cli.table import echo_table
from aftertrain.registry.discovery import installed


@click.command()
def plugins() -> None:
    """List plugins: state, version, import time, and how many components each has."""
    rows = [
        (
            plugin.origin.plugin,
            plugin.state,
            str(plugin.origin),
            f"{plugin.seconds * 1000:.0f} ms",
            str(len(plugin.registrations)),
            plugin.note,
        )
        for plugin in installed().plugins
    ]
    echo_table(rows, ("plugin", "state", "package", "import", "components", "note"))
    click.echo("\nAFTERTRAIN_BLOCK=NAME[,NAME] keeps plugins from being loaded; '*' allows built-ins only.")
