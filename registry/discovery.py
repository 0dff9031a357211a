"""Finding plugins: our own loop over the entry points `aftertrain.plugins`.

A stranger's plugin must not take the program down: entry points are sorted, built-ins come first, each has its own
`try`, and its entries are committed only if all are good. A plugin that hangs while being imported is named by a
watchdog, with the way to block it. `AFTERTRAIN_BLOCK` (names separated by commas, `*` for all but the built-ins) and a
recipe's `plugins.block` keep plugins from being imported at all.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterable
from functools import lru_cache
from types import ModuleType

import pluggy

from aftertrain.core.ground.foreign import PATIENCE_SECONDS, foreign, told
from aftertrain.core.ground.module_file import module_file
from aftertrain.core.plugin import API, ENTRY_POINT_GROUP, PluginSpec
from aftertrain.registry.tables import Origin, Plugin, Registry, Staging

log = logging.getLogger(__name__)

BLOCK_VARIABLE = "AFTERTRAIN_BLOCK"
SLOW_SECONDS = 1.0
HEAVY = ("torch", "pydantic", "transformers", "datasets")
"""Packages that a registering module must not import."""


def installed(block: Iterable[str] = ()) -> Registry:
    """The registry of this process: discovered once for each set of blocked names.

    Args:
        block: plugins not to load, beside those of `AFTERTRAIN_BLOCK`.
    """
    return _installed(frozenset(block) | blocked_by_environment(), tuple(sys.path))


@lru_cache(maxsize=8)
def _installed(block: frozenset[str], path: tuple[str, ...]) -> Registry:
    return discover(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), block)


def blocked_by_environment() -> frozenset[str]:
    """Names in `AFTERTRAIN_BLOCK`."""
    return frozenset(name for name in re.split(r"[,\s]+", os.environ.get(BLOCK_VARIABLE, "")) if name)


def discover(
    entry_points: Iterable[importlib.metadata.EntryPoint],
    block: Iterable[str] = (),
    *,
    patience: float = PATIENCE_SECONDS,
) -> Registry:
    """Load each plugin that is not blocked; never raises for what a plugin does.

    Args:
        entry_points: those of the group `aftertrain.plugins`.
        block: plugins not to load, by entry-point or distribution name; `*` for all but the built-ins.
        patience: seconds after which a plugin still being imported is named.
    """
    registry = Registry(block=frozenset(block))
    origins = map(_origin, entry_points)
    for origin in sorted(origins, key=lambda o: (not o.built_in, o.plugin, o.distribution, o.module)):
        reason = _blocked(origin, registry.block)
        registry.commit(Plugin(origin, "blocked", note=reason) if reason else _load(origin, patience))
    return registry


def _origin(entry: importlib.metadata.EntryPoint) -> Origin:
    distribution = entry.dist
    name, version = (distribution.name, distribution.version) if distribution else ("unknown", "0")
    return Origin(entry.name, _normal(name), version, entry.module, str(module_file(entry.module) or ""))


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _blocked(origin: Origin, block: frozenset[str]) -> str:
    named = {origin.plugin, origin.distribution} & {*block, *map(_normal, block)}
    if named:
        return f"blocked as {min(named)!r} by {BLOCK_VARIABLE} or the recipe's plugins.block; take it out there"
    if "*" in block and not origin.built_in:
        return f"'*' in {BLOCK_VARIABLE} or the recipe's plugins.block allows built-ins only"
    return ""


def _load(origin: Origin, patience: float) -> Plugin:
    staging = Staging(origin)
    level = logging.DEBUG if origin.built_in else logging.WARNING
    cure = f"block it: {BLOCK_VARIABLE}={origin.plugin}"
    heavy_before = {name for name in HEAVY if name in sys.modules}
    start = time.perf_counter()
    try:
        with foreign(f"plugin {origin.plugin!r} ({origin.full()})", cure=cure, patience=patience, level=level):
            module = importlib.import_module(origin.module)
            speaks = getattr(module, "AFTERTRAIN_API", None)
            if speaks == API:
                _register(module, staging)
    except Exception as error:  # noqa: BLE001  a stranger's module may raise anything
        trace = "".join(traceback.format_exception(error))
        return Plugin(origin, "broken", time.perf_counter() - start, told(error), trace, tuple(staging.registrations))
    seconds = time.perf_counter() - start
    if speaks != API:
        return Plugin(origin, "incompatible", seconds, _incompatible(speaks))
    heavy = [name for name in HEAVY if name in sys.modules and name not in heavy_before]
    entries, suites = tuple(staging.registrations), tuple(staging.suites)
    if not heavy and seconds <= SLOW_SECONDS:
        return Plugin(origin, "ok", seconds, registrations=entries, suites=suites)
    why = f"its registering module imports {', '.join(heavy)}" if heavy else "importing it takes long"
    note = f"{why} ({seconds:.1f} s); every aftertrain command waits for it"
    return Plugin(origin, "slow", seconds, note, registrations=entries, suites=suites)


def machine_facts(registry: Registry) -> list[tuple[str, str]]:
    """What the plugins say of this machine, in their order; one that raises is told in its place."""
    rows: list[tuple[str, str]] = []
    for plugin in registry.plugins:
        if plugin.usable:
            try:
                with foreign(f"plugin {plugin.origin.plugin!r} ({plugin.origin.full()})"):
                    answers = _hooks(importlib.import_module(plugin.origin.module)).hook.aftertrain_doctor()
                    rows += [(str(label), str(value)) for facts in answers for label, value in facts]
            except Exception as error:  # noqa: BLE001  a stranger's hook may raise anything
                rows.append((plugin.origin.plugin, f"aftertrain_doctor of {plugin.origin.full()}: {told(error)}"))
    return rows


def _hooks(module: ModuleType) -> pluggy.PluginManager:
    """The module's hooks through pluggy, which checks their markers and arguments."""
    manager = pluggy.PluginManager("aftertrain")
    manager.add_hookspecs(PluginSpec)
    manager.register(module)
    return manager


def _register(module: ModuleType, staging: Staging) -> None:
    manager = _hooks(module)
    if not manager.hook.aftertrain_register.get_hookimpls():
        raise TypeError(f"{module.__name__} has no function aftertrain_register marked with @hookimpl")
    manager.hook.aftertrain_register(registry=staging)


def _incompatible(speaks: object) -> str:
    if speaks is None:
        return f"its module does not say AFTERTRAIN_API = {API}, which this aftertrain speaks; ask for a newer plugin"
    newer = isinstance(speaks, int) and speaks > API
    itself = f"write AFTERTRAIN_API = {API} into it: aftertrain check-plugin then says what its code must change"
    cure = "upgrade aftertrain" if newer else f"upgrade the plugin, or {itself}"
    return f"it speaks AFTERTRAIN_API = {speaks!r}, this aftertrain speaks {API}; {cure}"
