"""Typed tables of what plugins register, with where each entry came from.

Rows of one plugin are staged, then committed together or not at all. A name has one owner: nothing is ever
overwritten, and a name with two would-be owners can be used by nobody until one of them is blocked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from aftertrain.core.errors import AftertrainError, PluginError, UnknownName, nearest, unknown
from aftertrain.core.kinds import KINDS

BUILT_IN = "aftertrain"
"""The distribution whose plugins may use bare names."""

State = Literal["ok", "slow", "broken", "incompatible", "blocked", "clash"]


MEMBER = "member"
"""The setting of a family's component that says which of its members is meant."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a plugin came from.

    Attributes:
        plugin: its entry-point name.
        distribution: the installed package that declares it.
        version: of that package.
        module: the registering module.
        file: that module's file, empty when it cannot be found.
    """

    plugin: str
    distribution: str
    version: str
    module: str
    file: str

    @property
    def built_in(self) -> bool:
        """Whether it is part of aftertrain itself."""
        return self.distribution == BUILT_IN

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    def full(self) -> str:
        """Distribution, version and file, for messages about a plugin that fails."""
        return f"{self}, {self.file or self.module}"


@dataclass(frozen=True, slots=True)
class Registration:
    """One component that a plugin offers.

    Attributes:
        name: of the component; one that ends in `/` is a family's, and begins the names of its members.
        component: `"module:Class"`, imported only when the component is used.
        settings: `"module:Class"` of its settings.
    """

    kind: str
    name: str
    component: str
    settings: str
    summary: str
    origin: Origin

    @property
    def family(self) -> bool:
        """Whether it stands for all names that begin with its own, what follows being the setting `MEMBER`."""
        return self.name.endswith("/")

    def covers(self, name: str) -> bool:
        """Whether `name` is its own, or a member's."""
        return name == self.name or (self.family and name.startswith(self.name))

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of plugin {self.origin.plugin!r} ({self.origin.full()})"


@dataclass(frozen=True, slots=True)
class SuiteFile:
    """A suite that a plugin offers.

    Attributes:
        package: that carries the file.
        file: path in the package.
    """

    name: str
    package: str
    file: str
    summary: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point and what became of it.

    Attributes:
        seconds: wall time of importing and registering.
        note: one sentence when `state` is not `ok`: what is wrong and the cure.
        traceback: of a broken plugin, for `aftertrain doctor`.
        registrations: what it registered; in the tables only when the state is `ok` or `slow`.
        suites: as `registrations`.
    """

    origin: Origin
    state: State
    seconds: float = 0.0
    note: str = ""
    traceback: str = ""
    registrations: tuple[Registration, ...] = ()
    suites: tuple[SuiteFile, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether its entries are in the tables."""
        return self.state in ("ok", "slow")


class BadRow(AftertrainError):
    """An entry that a plugin may not add; makes the whole plugin broken."""


class Staging:
    """The `Registrar` that one plugin is given."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.registrations: list[Registration] = []
        self.suites: list[SuiteFile] = []

    def add(self, kind: str, name: str, component: str, settings: str, summary: str) -> None:
        """Stage one entry (see `core.plugin.Registrar`).

        Raises:
            BadRow: unknown kind, name without the plugin's prefix, malformed target, or a name added twice.
        """
        if kind not in KINDS:
            raise BadRow(f"{unknown('kind', kind, KINDS)} It was given for {name!r}.")
        self._check_name(kind, name)
        for target in (component, settings):
            if not _TARGET.fullmatch(target):
                raise BadRow(f"{kind} {name!r}: {target!r} is not of the form 'module:Class'")
        if not summary.strip() or "\n" in summary:
            raise BadRow(f"{kind} {name!r}: the summary must be one line of text")
        if any((entry.kind, entry.name) == (kind, name) for entry in self.registrations):
            raise BadRow(f"{kind} {name!r} is added twice")
        self.registrations.append(Registration(kind, name, component, settings, summary, self.origin))

    def add_suite(self, name: str, package: str, file: str, summary: str) -> None:
        """Stage a suite (see `core.plugin.Registrar`).

        Raises:
            BadRow: name without the plugin's prefix, a file that is no YAML by its name, or a name added twice.
        """
        self._check_name("suite", name)
        if not file.endswith((".yaml", ".yml")):
            raise BadRow(f"suite {name!r}: its file must end in .yaml, not {file!r}")
        if not summary.strip() or "\n" in summary:
            raise BadRow(f"suite {name!r}: the summary must be one line of text")
        if any(entry.name == name for entry in self.suites):
            raise BadRow(f"suite {name!r} is added twice")
        self.suites.append(SuiteFile(name, package, file, summary, self.origin))

    def _check_name(self, kind: str, name: str) -> None:
        if self.origin.built_in:
            if not _NAME.fullmatch(name.removesuffix("/")):
                raise BadRow(f"{kind} {name!r}: a built-in's name is letters, digits, '_', '.', '-'")
            return
        prefix, slash, rest = name.partition("/")
        if not slash or prefix != self.origin.plugin or not _NAME.fullmatch(rest.removesuffix("/")):
            raise BadRow(
                f"{kind} {name!r}: a third party's names start with the plugin's own, "
                f"'{self.origin.plugin}/{rest or name}'; bare names are aftertrain's"
            )


@dataclass
class Registry:
    """Everything that was found: plugins with their state, and the entries of the usable ones.

    Attributes:
        plugins: in the order of discovery, built-ins first.
        block: the names that were blocked, so that a worker can find the same.
        suites: of the usable plugins, by name. A third party's bears its plugin's name, so that no two are alike.
    """

    plugins: tuple[Plugin, ...] = ()
    block: frozenset[str] = frozenset()
    _registrations: dict[tuple[str, str], Registration] = field(default_factory=dict)
    _contested: dict[tuple[str, str], tuple[Registration, ...]] = field(default_factory=dict)
    suites: dict[str, SuiteFile] = field(default_factory=dict)

    def commit(self, plugin: Plugin) -> Plugin:
        """Add a plugin and, when it is usable and its names are free, its entries; returns it with its final state."""
        entries = {(entry.kind, entry.name): entry for entry in plugin.registrations} if plugin.usable else {}
        owners = {key: owner for key, entry in entries.items() if (owner := self._owner(entry)) is not None}
        taken = list(owners)
        for key, owner in owners.items():
            self._contested[key] = (*self._contested.get(key, (owner,)), entries[key])
        if taken:
            plugin = replace(plugin, state="clash", note=_clash(*taken[0], self._contested[taken[0]]))
        else:
            self._registrations.update(entries)
            self.suites.update({entry.name: entry for entry in plugin.suites} if plugin.usable else {})
        self.plugins = (*self.plugins, plugin)
        return plugin

    def _owner(self, entry: Registration) -> Registration | None:
        """Of another plugin: who has the name already, or a family that it belongs to, or members of the family it is.

        Built-ins are found first, so that nobody can take a name away from them by a family that begins it.
        """
        for (kind, name), there in self._registrations.items():
            if kind == entry.kind and (there.covers(entry.name) or entry.covers(name)):
                return there
        return None

    def registrations(self, kind: str | None = None) -> list[Registration]:
        """Usable entries of one kind (of all by default), built-ins first, then by name.

        Raises:
            UnknownName: there is no such kind.
        """
        if kind is not None and kind not in KINDS:
            raise UnknownName("kind", kind, KINDS)
        order = {name: place for place, name in enumerate(KINDS)}
        chosen = [entry for entry in self._registrations.values() if kind in (None, entry.kind)]
        return sorted(chosen, key=lambda entry: (order[entry.kind], not entry.origin.built_in, entry.name))

    def withheld(self, kind: str) -> dict[str, str]:
        """Names of one kind that are registered but unusable, each with the reason."""
        offered = [(entry, plugin) for plugin in self.plugins if not plugin.usable for entry in plugin.registrations]
        unusable = {entry.name: _unusable(plugin) for entry, plugin in offered if entry.kind == kind}
        return unusable | {name: _clash(k, name, rivals) for (k, name), rivals in self._contested.items() if k == kind}

    def registration(self, kind: str, name: str) -> Registration:
        """The one entry of that kind and name; of a member's name its family's.

        Raises:
            PluginError: the plugin that supplies it is broken, incompatible, blocked or clashing.
            UnknownName: nothing of that name; names the nearest match and other kinds that have it.
        """
        if kind not in KINDS:
            raise UnknownName("kind", kind, KINDS)
        if (reason := self.withheld(kind).get(name)) is not None:
            raise PluginError(reason)
        if (entry := self._registrations.get((kind, name))) is not None:
            return entry
        for entry in self._registrations.values():
            if entry.kind == kind and entry.covers(name):
                return entry
        prefix = name.partition("/")[0] if "/" in name else None
        for plugin in self.plugins:
            if not plugin.usable and plugin.origin.plugin == prefix:
                raise PluginError(f"{kind} {name!r} cannot be had: {_unusable(plugin)}")
        raise UnknownName(kind, name, (entry.name for entry in self.registrations(kind)), note=self._hint(kind, name))

    def _hint(self, kind: str, name: str) -> str:
        """Other kinds that have the name, and failed built-ins that might have supplied it."""
        others = [other for other in KINDS if other != kind and (other, name) in self._registrations]
        hints = [f"There is a {other} of that name." for other in others]
        if kind == "eval_task" and self.suites:
            guess = nearest(name, self.suites)
            hints.append(
                f"Did you mean the suite {guess!r}?" if guess else f"Suites: {', '.join(sorted(self.suites))}."
            )
        head, slash, member = name.partition("/")
        families = {entry.name for (k, _), entry in self._registrations.items() if k == kind and entry.family}
        if slash and (family := nearest(f"{head}/", families)) is not None:
            hints.append(f"Did you mean {family + member!r}?")
        if "/" not in name:
            failed = [plugin for plugin in self.plugins if plugin.origin.built_in and not plugin.usable]
            if failed:
                names = f"{', '.join(plugin.origin.plugin for plugin in failed)} (see 'aftertrain doctor')."
                which = _unusable(failed[0]) if len(failed) == 1 else names
                hints.append(f"It may belong to a plugin that cannot be used: {which}")
        elif not any(p.origin.plugin == name.partition("/")[0] for p in self.plugins):
            hints.append(f"No plugin {name.partition('/')[0]!r} is installed.")
        return " ".join(hints)


def _unusable(plugin: Plugin) -> str:
    more = " ('aftertrain doctor' has the traceback)" if plugin.traceback else ""
    return f"plugin {plugin.origin.plugin!r} ({plugin.origin.full()}) is {plugin.state}: {plugin.note}{more}"


def _clash(kind: str, name: str, owners: Sequence[Registration]) -> str:
    both = " and ".join(f"plugin {entry.origin.plugin!r} ({entry.origin.full()})" for entry in owners)
    return (
        f"{kind} {name!r} has two owners: {both}; uninstall one, or block it by its distribution: "
        f"AFTERTRAIN_BLOCK={owners[-1].origin.distribution}"
    )
