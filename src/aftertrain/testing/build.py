"""Making a component by name, for tests and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aftertrain.registry.builder import ComponentBuilder
from aftertrain.registry.discovery import installed
from aftertrain.registry.resolve import SettingsResolver


def build(kind: str, name: str, /, **settings: Any) -> Any:
    """The installed component `name` of `kind`, with these settings; nested ones are written as in a recipe.

    Raises:
        pydantic.ValidationError: the settings do not fit.
        UnknownName, PluginError: there is no such component, or its plugin fails.
    """
    registry = installed()
    registry.registration(kind, name)
    use = SettingsResolver(registry, Path.cwd()).resolve(kind, {"use": name, **settings})
    return ComponentBuilder(registry, Path.cwd()).build(use)
