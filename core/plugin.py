"""The contract between a plugin package and aftertrain: light enough for a plugin's registering module.

A plugin is an entry point in the group `aftertrain.plugins` whose value is a module with

    AFTERTRAIN_API = 2

    @hookimpl
    def aftertrain_register(registry: Registrar) -> None:
        registry.add("loss", "acme/margin", "acme.margin:MarginLoss", "acme.settings:MarginSettings", "margin loss")

This module imports only pluggy: no torch, no pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    from aftertrain.core.events import Entry

API = 2
ENTRY_POINT_GROUP = "aftertrain.plugins"

hookspec = pluggy.HookspecMarker("aftertrain")
hookimpl = pluggy.HookimplMarker("aftertrain")


class Registrar(Protocol):
    """What a plugin's `aftertrain_register` is given."""

    def add(self, kind: str, name: str, component: str, settings: str, summary: str) -> None:
        """Stage one entry; all entries of a plugin are committed together or not at all.

        Args:
            kind: one of `aftertrain.core.kinds.KINDS`.
            name: bare for built-ins (`dpo`), `plugin/name` for everyone else (`acme/margin`). One that ends in `/` is a
                family's (`acme/maps/`): whatever is named after it (`acme/maps/berlin`) is this component, and what
                follows is its setting `member`.
            component: `"module:Class"`, imported only when the component is used.
            settings: `"module:Class"` of its settings; that module must not import torch.
            summary: one line for `aftertrain list`.
        """

    def add_suite(self, name: str, package: str, file: str, summary: str) -> None:
        """Stage a suite of evaluation tasks, which is a YAML file (`aftertrain.core.benchmark.suite.Suite`).

        Args:
            name: bare for built-ins, `plugin/name` for everyone else.
            package: that carries the file, by its import name.
            file: path in the package, `suites/mini.yaml`.
            summary: one line for `aftertrain list suite`.
        """


class PluginSpec:
    """Hooks of a plugin module (found by entry point)."""

    @hookspec
    def aftertrain_register(self, registry: Registrar) -> None:
        """Add the plugin's rows to the registry; import nothing heavy."""

    @hookspec
    def aftertrain_doctor(self) -> list[tuple[str, str]]:
        """What of this machine decides how the plugin's components work, for `aftertrain doctor`: labels and values.

        It need not be there. What it looks at is imported inside it.
        """
        return []


class ObserverSpec:
    """Hooks of an observer (one instance per run, built from the recipe)."""

    @hookspec
    def aftertrain_event(self, entry: Entry) -> None:
        """Called after each event is written to events.jsonl; may not break the run."""

    @hookspec
    def aftertrain_close(self) -> None:
        """Called once when the run ends, however it ends."""
