"""Every promise of every component of a plugin, as a list that can be run."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aftertrain.core.errors import MissingExtra, NotMade, PluginError, UnknownName
from aftertrain.core.ground.foreign import foreign, message_of
from aftertrain.registry.discovery import installed
from aftertrain.registry.tables import Plugin, Registration, Registry
from aftertrain.testing import plugin as plugin_promises
from aftertrain.testing import settings as settings_promises
from aftertrain.testing.examples import cases, example
from aftertrain.testing.local import local_registration
from aftertrain.testing.promise import BrokenPromise, Promise, Subject, Unchecked, promises_in

State = Literal["kept", "broken", "unchecked"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one claim.

    Attributes:
        claim: component and promise.
        message: why it is broken or unchecked; empty when kept.
    """

    claim: Claim
    state: State
    message: str = ""


@dataclass(frozen=True)
class Claim:
    """One promise of one component."""

    entry: Registration
    registry: Registry
    promise: Promise

    def __str__(self) -> str:
        return f"{self.subject}: {self.words}"

    @property
    def subject(self) -> str:
        """Kind and name of the component; a file in the current folder is called from there."""
        return f"{self.entry.kind} {self.entry.name.replace(f'{Path.cwd()}/', './')}"

    @property
    def words(self) -> str:
        """The promise's name in words."""
        return self.promise.__name__.replace("_", " ")

    def check(self) -> None:
        """Check it.

        Raises:
            BrokenPromise: it is not kept.
            Unchecked: it cannot be checked here.
        """
        with tempfile.TemporaryDirectory(prefix="aftertrain-check-") as temporary:
            folder = Path(temporary)
            # Beside a local file's class stand its own examples, by the name of the class.
            name = self.entry.name.rpartition(":")[2]
            settings = example(self.entry.origin, self.entry.kind, name, folder)
            known = tuple(cases(self.entry.origin, name))
            try:
                self.promise(Subject(self.entry, self.registry, folder, settings, known))
            except (MissingExtra, NotMade) as error:
                raise Unchecked(str(error)) from error

    def finding(self) -> Finding:
        """Check it; never raises for what the component does. What it prints is dropped."""
        try:
            with contextlib.redirect_stdout(io.StringIO()), foreign(self.subject, level=logging.DEBUG):
                self.check()
        except Unchecked as error:
            return Finding(self, "unchecked", str(error))
        except BrokenPromise as error:
            return Finding(self, "broken", str(error))
        except Exception as error:  # noqa: BLE001  a stranger's component may raise anything
            trace = "".join(traceback.format_exception(error)[-6:])
            return Finding(self, "broken", f"{type(error).__name__}: {message_of(error)}\n{trace}")
        return Finding(self, "kept")


def claims(plugin: str | None = None, *, registry: Registry | None = None) -> list[Claim]:
    """Every promise that applies to the components of one plugin, or of all.

    Args:
        plugin: its entry-point name, the name of its distribution, or `FILE.py:CLASS` for a class in a file.
        registry: what is installed, by default.

    Raises:
        UnknownName: no such plugin.
        PluginError: it is broken, incompatible, blocked or clashing, or has no components; the file cannot be used.
    """
    registry = registry if registry is not None else installed()
    local = local_registration(plugin) if plugin is not None else None
    if local is not None:
        return [Claim(local, registry, promise) for promise in promises(local.kind, packaged=False)]
    chosen = [_named(registry, plugin)] if plugin is not None else [p for p in registry.plugins if p.usable]
    entries = [entry for usable in chosen for entry in usable.registrations]
    return [Claim(entry, registry, promise) for entry in entries for promise in promises(entry.kind)]


def findings(plugin: str, *, registry: Registry | None = None) -> Iterator[Finding]:
    """Check every claim of a plugin, one after the other."""
    for claim in claims(plugin, registry=registry):
        yield claim.finding()


def promises(kind: str, *, packaged: bool = True) -> list[Promise]:
    """What a component of that kind promises.

    Args:
        packaged: with what only a package can promise, which registers its components; a local file does not.
    """
    modules = (plugin_promises, settings_promises, importlib.import_module(f"aftertrain.testing.{kind}"))
    every = [promise for module in modules for promise in promises_in(module)]
    return [promise for promise in every if packaged or promise not in plugin_promises.OF_A_PACKAGE]


def _named(registry: Registry, name: str) -> Plugin:
    plugin = next((p for p in registry.plugins if name in (p.origin.plugin, p.origin.distribution)), None)
    if plugin is None:
        raise UnknownName("plugin", name, {p.origin.plugin for p in registry.plugins})
    if not plugin.usable:
        raise PluginError(f"plugin {name!r} ({plugin.origin.full()}) is {plugin.state}: {plugin.note}")
    if not plugin.registrations:
        raise PluginError(f"plugin {name!r} ({plugin.origin.full()}) registers no component")
    return plugin
