"""Components as tables: `aftertrain list`, and one of them for `aftertrain show`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from aftertrain.cli.suites import suite_lines
from aftertrain.cli.table import echo_table
from aftertrain.core.kinds import KINDS
from aftertrain.registry.discovery import installed

if TYPE_CHECKING:
    from pydantic import BaseModel

    from aftertrain.registry.tables import Registration


@click.command(
    "list", help=f"List installed components, of one KIND or of all.\n\nKinds: {', '.join(KINDS)}; and suite, recipe."
)
@click.argument("kind", required=False)
def list_components(kind: str | None) -> None:
    """Print components by kind, or suites, or the shipped recipes."""
    if kind == "recipe":
        echo_table(_recipes())
        return
    if kind == "suite":
        echo_table(suite_lines() or [("  none", "")])
        return
    registry = installed()
    entries = registry.registrations(kind)
    for name in [kind] if kind else KINDS:
        lines = [
            (f"  {entry.name}", entry.summary + ("" if entry.origin.built_in else f" [{entry.origin}]"))
            for entry in entries
            if entry.kind == name
        ]
        click.echo(click.style(name, bold=True) + f": {KINDS[name].summary}")
        echo_table(lines or [("  none", "")])
        click.echo()
    if kind is None:
        click.echo(click.style("suite", bold=True) + ": rows of evaluation tasks that make one number")
        echo_table(suite_lines() or [("  none", "")])
        click.echo()
    failed = [plugin for plugin in registry.plugins if not plugin.usable and plugin.state != "blocked"]
    for plugin in failed:
        click.echo(
            f"note: plugin {plugin.origin.plugin!r} ({plugin.origin}) is {plugin.state}: {plugin.note}", err=True
        )
    if kind is None:
        click.echo("aftertrain show NAME tells the settings of one; aftertrain list recipe the shipped recipes.")


def _recipes() -> list[tuple[str, str]]:
    """Name and description of each shipped recipe."""
    from aftertrain.registry.document import read
    from aftertrain.registry.recipe import shipped

    trees = {name: read(path.read_text(encoding="utf-8"), str(path)) for name, path in shipped().items()}
    return [(name, str(tree.plain().get("description", ""))) for name, tree in trees.items()]


def echo_component(entry: Registration) -> None:
    """Print a component: summary, origin, and settings with types and defaults."""
    from aftertrain.registry.load import load_settings
    from aftertrain.registry.provenance import commit

    click.echo(click.style(f"{entry.kind} {entry.name}", bold=True) + f": {entry.summary}\n")
    revision = commit(entry.origin.distribution)
    facts = [
        ("plugin", f"{entry.origin.plugin} ({entry.origin}{f', commit {revision}' if revision else ''})"),
        ("file", entry.origin.file),
        ("class", entry.component),
    ]
    echo_table(facts)
    settings = load_settings(entry)
    fields = _fields(settings, "  ")
    click.echo()
    if not fields:
        click.echo("It has no settings.")
        return
    echo_table(fields, ("  setting", "type", "default", "what it is"))
    if listed := settings.listing():
        click.echo(f"\nWhat it knows ({len(listed)}; aftertrain show {entry.name} NAME tells all of one):\n")
        header = ("  name", *next(iter(listed.values())).shown)
        echo_table([(f"  {name}", *item.shown.values()) for name, item in listed.items()], header)


def echo_listed(entry: Registration, name: str) -> None:
    """Print all that a component's settings tell of something that they may name.

    Raises:
        UsageError: they know nothing of this name.
    """
    from aftertrain.core.errors import unknown
    from aftertrain.registry.load import load_settings

    listed = load_settings(entry).listing()
    if name not in listed:
        raise click.UsageError(unknown(entry.name, name, listed))
    click.echo(click.style(f"{entry.kind} {entry.name}, {name}", bold=True) + "\n")
    facts = {**listed[name].shown, **listed[name].more}
    echo_table([(fact, text) for fact, text in facts.items() if text])


def _fields(model: type[BaseModel], indent: str, chosen: BaseModel | None = None) -> list[tuple[str, str, str, str]]:
    """A row for each setting, and below a mapping the settings inside it, indented.

    Args:
        chosen: the defaults where the setting around these has its own; those of the class else.
    """
    from pydantic_core import PydanticUndefined

    from aftertrain.registry.describe import nested

    rows = []
    for name, field in model.model_fields.items():
        inner = nested(field.annotation)
        default = field.get_default(call_default_factory=True, validated_data={})
        value = default if chosen is None else getattr(chosen, name)
        shown = "required" if value is PydanticUndefined else _shown(value)
        rows.append((indent + (field.alias or name), _type(field.annotation), shown, field.description or ""))
        if inner is not None:
            rows += _fields(inner, indent + "  ", value if isinstance(value, inner) else None)
    return rows


def _type(annotation: Any) -> str:
    """A field's type in a recipe's words: `loss` for a nested component, `number`; `mapping` for what follows below."""
    from aftertrain.registry.describe import describe_type, members, nested

    inner = nested(annotation)
    if inner is None:
        return describe_type(annotation)
    return " or ".join("mapping" if member is inner else describe_type(member) for member in members(annotation))


def _shown(value: Any) -> str:
    """A default as JSON; that of a mapping is told by the rows below it."""
    if hasattr(value, "model_dump"):
        return "{…}" if value.model_dump() else "{}"
    return json.dumps(value, default=str, ensure_ascii=False)
