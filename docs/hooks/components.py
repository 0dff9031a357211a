"""Writes the reference from the program itself: one page per kind with every component's settings, the commands' help,
the recipe's settings and the list of shipped recipes. A component that is registered is documented; one that is broken
stops the build.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import click
from mkdocs.structure.files import File, Files
from pydantic_core import PydanticUndefined

from aftertrain.cli import cli
from aftertrain.cli.commands import COMMANDS
from aftertrain.core.errors import PluginError
from aftertrain.core.kinds import KINDS
from aftertrain.core.recipe import Recipe
from aftertrain.core.settings import Settings
from aftertrain.registry.describe import describe_type
from aftertrain.registry.discovery import installed
from aftertrain.registry.load import load_component, load_settings
from aftertrain.registry.recipe import shipped
from aftertrain.registry.tables import Registration

FOLDER = "reference/components"


def on_config(config: Any) -> Any:
    """Put the generated pages where the navigation says `reference/components/`."""
    config.nav = _with_pages(config.nav)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages.

    Raises:
        PluginError: a built-in plugin cannot be used, so that its components would be missing from the pages.
    """
    for plugin in installed().plugins:
        if plugin.origin.built_in and not plugin.usable:
            raise PluginError(f"{plugin.origin.plugin} is {plugin.state}: {plugin.note}")
    pages = {f"{FOLDER}/{kind}.md": component_page(kind) for kind in KINDS}
    pages["reference/command-line.md"] = command_page()
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **others: Any) -> str:
    """Fill the marks of `reference/recipe.md`."""
    if page.file.src_uri == "reference/recipe.md":
        markdown = markdown.replace("<!-- settings: aftertrain.core.recipe:Recipe -->", settings_table(Recipe))
        markdown = markdown.replace("<!-- recipes -->", recipe_list())
    return markdown


def component_page(kind: str) -> str:
    """All built-in components of one kind."""
    rows = [row for row in installed().registrations(kind) if row.origin.built_in]
    title = KINDS[kind].name.replace("_", " ").capitalize()
    parts = [f"# {title}\n\n{_text(KINDS[kind].summary)}. Interface: `{KINDS[kind].interface}`.\n"]
    parts += [component_section(row) for row in rows]
    return "\n".join(parts)


def component_section(row: Registration) -> str:
    """Summary, docstring and settings of one component."""
    settings = load_settings(row)
    doc = (load_component(row).__doc__ or "").strip().split("\n\n", 1)[0]
    about = "" if doc == row.summary else " ".join(doc.split()) + "\n\n"
    return (
        f"## `{row.name}`\n\n{_text(row.summary)}.\n\n{_text(about)}"
        f"Plugin `{row.origin.plugin}`, class `{row.component}`.\n\n{settings_table(settings)}\n"
    )


def settings_table(settings: type[Settings]) -> str:
    """A Markdown table of the settings, those of nested mappings below their own with a dotted name."""
    rows = list(_fields(settings))
    if not rows:
        return "No settings.\n"
    lines = ["| setting | type | default | what it is |", "|---|---|---|---|"]
    lines += [f"| `{path}` | {_cell(kind)} | {default} | {_cell(text)} |" for path, kind, default, text in rows]
    return "\n".join(lines) + "\n"


def _fields(settings: type[Settings], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    for name, field in settings.model_fields.items():
        path = prefix + (field.alias or name)
        nested = [t for t in (field.annotation, *get_args(field.annotation)) if _is_settings(t)]
        kind = "mapping" if nested and field.annotation is nested[0] else describe_type(field.annotation)
        yield path, kind, _default(field, bool(nested)), field.description or ""
        for inner in nested:
            yield from _fields(inner, f"{path}.")


def _is_settings(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _default(field: Any, nested: bool) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or (nested and value is not None):
        return ""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", by_alias=True)
    return f"`{json.dumps(value, default=str, ensure_ascii=False)}`"


def command_page() -> str:
    """The help of every command."""
    parts = ["# Command line\n"]
    for group, rows in groupby(COMMANDS.values(), key=lambda row: row.group):
        parts.append(f"## {group}\n")
        for row in rows:
            command = cli.get_command(click.Context(cli), row.name)
            assert command is not None
            parts.append(f"### aftertrain {row.name}\n\n{row.summary}\n\n```text\n{_help(command, row.name)}\n```\n")
    return "\n".join(parts)


def _help(command: click.Command, name: str) -> str:
    parent = click.Context(cli, info_name="aftertrain")
    text = command.get_help(click.Context(command, info_name=name, parent=parent, max_content_width=100))
    if not isinstance(command, click.Group):
        return text
    inner = [command.get_command(parent, one) for one in command.list_commands(parent)]
    return "\n\n".join([text, *(_help(one, f"{name} {one.name}") for one in inner if one is not None)])


def recipe_list() -> str:
    """Shipped recipes with the first line of each, which says what it is."""
    lines = ["| recipe | what it is |", "|---|---|"]
    for name, path in sorted(shipped().items()):
        first = Path(str(path)).read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"| `{name}` | {_cell(first)} |")
    return "\n".join(lines)


def _with_pages(nav: list[Any]) -> list[Any]:
    found: list[Any] = []
    for entry in nav:
        ((title, value),) = entry.items() if isinstance(entry, dict) else ((None, entry),)
        if value == f"{FOLDER}/":
            found.append({title: [f"{FOLDER}/{kind}.md" for kind in KINDS]})
        else:
            found.append({title: _with_pages(value)} if isinstance(value, list) else entry)
    return found


def _text(text: str) -> str:
    return text.replace("<", "&lt;")


def _cell(text: str) -> str:
    return _text(" ".join(text.split())).replace("|", "\\|")
