"""Which YAML files a name of lm-eval's stands for. They are searched as text, in a fraction of a second.

lm-eval itself parses all of them (14,000 in 0.4.13) before it knows one name. Nothing of it is imported here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aftertrain.core.errors import DataError, MissingExtra, nearest, unknown
from aftertrain.core.ground.reading import read_bytes

PACKAGE = "lm_eval"
_KEY = re.compile(rb"^['\"]?(task|group|tag|include|class)['\"]?[ \t]*:(.*)", re.MULTILINE)
_ITEM = re.compile(rb"\n[ \t]*-[ \t]*(.+?)[ \t]*(?=\r?\n|$)")
_IGNORED = {"__pycache__", ".ipynb_checkpoints"}


@dataclass
class Found:
    """What a name stands for.

    Attributes:
        group: whether it is a group's.
        leaves: settings of its tasks as their files have them, includes merged, functions by their names.
        files: of all that it takes, itself first.
        groups: names of the tasks of each group among them, and its `aggregate_metric_list`, outer ones first.
        altered: tasks that a group sets up otherwise than their own file does, or describes itself.
    """

    name: str
    group: bool = False
    leaves: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, tuple[list[str], Any]] = field(default_factory=dict)
    altered: set[str] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)

    @property
    def folders(self) -> list[Path]:
        """Those of the files, without those that lie in another."""
        folders = sorted({file.parent for file in self.files})
        return [folder for folder in folders if not any(other in folder.parents for other in folders)]


def installed_version(used_by: str) -> str:
    """The version of lm-eval that is installed.

    Raises:
        MissingExtra: none is.
    """
    if find_spec(PACKAGE) is None:
        raise MissingExtra(PACKAGE, "eval", used_by)
    return version(PACKAGE)


def only(found: Found, tasks: Sequence[str] | None) -> Found:
    """Those of its tasks; None is all.

    Raises:
        DataError: it has no task of one of the names.
    """
    if tasks is None:
        return found
    for name in tasks:
        if name not in found.leaves:
            raise DataError(f"task 'lm_eval/{found.name}': tasks: {unknown('task', name, found.leaves)}")
    return replace(found, leaves={name: found.leaves[name] for name in tasks})


def find(name: str, include_path: str | None) -> Found:
    """What `name` stands for, in the folder `include_path` or in lm-eval.

    Raises:
        MissingExtra: lm-eval is not installed.
        DataError: there is no such name, or no such folder.
    """
    release = installed_version(f"task 'lm_eval/{name}'")
    if include_path is not None and not Path(include_path).is_dir():
        raise DataError(f"{include_path}: there is no such folder of YAML files")
    roots = [*([Path(include_path)] if include_path else []), _own_folder()]
    catalogue = _Catalogue([_scanned(root, _stamp(root)) for root in roots])
    found = Found(name)
    if catalogue.add(name, found) is None:
        guess = nearest(name, catalogue.names())
        hint = f"; did you mean 'lm_eval/{guess}'?" if guess else ""
        raise DataError(
            f"lm-eval {release} has no task, group or tag named {name!r}{hint} "
            "(a folder of YAML files of your own is named by the setting include_path)"
        )
    return found


@dataclass(frozen=True)
class _Scanned:
    """Names in a folder: the file of each task and group, and the tasks of each tag."""

    tasks: Mapping[str, Path]
    groups: Mapping[str, Path]
    tags: Mapping[str, Sequence[str]]


def _own_folder() -> Path:
    spec = find_spec(PACKAGE)
    assert spec is not None
    return Path(next(iter(spec.submodule_search_locations or ()))) / "tasks"


def _stamp(root: Path) -> int:
    """What changes with the files of a folder of one's own; lm-eval's do not change while a process runs."""
    if root == _own_folder():
        return 0
    return hash(tuple((file, os.stat(file).st_mtime_ns) for file in _yaml_files(root)))


def _yaml_files(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _IGNORED]
        yield from (f"{folder}/{name}" for name in files if name.endswith(".yaml"))


@cache
def _scanned(root: Path, _: int) -> _Scanned:
    tasks: dict[str, Path] = {}
    groups: dict[str, Path] = {}
    tags: dict[str, list[str]] = {}
    # lm-eval takes the first file of a name in the order of whole paths.
    for name in sorted(_yaml_files(root)):
        file = Path(name)
        keys = _keys(name)
        task, group = keys["task"], keys["group"]
        if group and not keys["class"]:
            groups.setdefault(group[0], file)
        elif task and task[0] not in tasks:
            tasks[task[0]] = file
            for tag in _tags(file, keys):
                tags.setdefault(tag, []).append(task[0])
    return _Scanned(tasks, groups, tags)


def _keys(file: str | Path) -> dict[str, list[str]]:
    """Values of a file's top-level keys that say what it is, a list's items one by one."""
    with open(file, "rb") as opened:
        text = opened.read()
    keys: dict[str, list[str]] = {"task": [], "group": [], "tag": [], "include": [], "class": []}
    for match in _KEY.finditer(text):
        written = match[2].partition(b" #")[0].strip()
        values = [written]
        if not written or written.startswith(b"["):
            values = written.strip(b"[]").split(b",")
            place = match.end()
            while item := _ITEM.match(text, place):
                values.append(item[1])
                place = item.end()
        plain = [value.decode(errors="replace").strip().strip("'\"") for value in values]
        keys[match[1].decode()] = [value for value in plain if value]
    return keys


def _tags(file: Path, keys: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """A task's tags: its own, or those of what it includes."""
    if keys["tag"] or not keys["include"]:
        return keys["tag"]
    included = file.parent / keys["include"][0]
    return _tags(included, _keys_of_included(included)) if included.is_file() else ()


_keys_of_included = cache(_keys)


class _Catalogue:
    def __init__(self, scanned: Sequence[_Scanned]) -> None:
        self._scanned = scanned

    def names(self) -> list[str]:
        return [
            name for scanned in self._scanned for part in (scanned.tasks, scanned.groups, scanned.tags) for name in part
        ]

    def _where(self, name: str) -> tuple[str, Any] | None:
        for scanned in self._scanned:
            kinds: tuple[tuple[str, Mapping[str, Any]], ...] = (
                ("task", scanned.tasks),
                ("group", scanned.groups),
                ("tag", scanned.tags),
            )
            for kind, table in kinds:
                if name in table:
                    return kind, table[name]
        return None

    def add(self, name: str, found: Found) -> list[str] | None:
        """Add what a name stands for; the names of its tasks, None where it is none."""
        where = self._where(name)
        if where is None:
            return None
        kind, place = where
        if kind == "tag":
            found.group = found.group or name == found.name
            return [leaf for task in sorted(place) for leaf in self.add(task, found) or ()]
        settings = read_yaml(place)
        found.files.append(place)
        if kind == "task":
            found.leaves[name] = settings
            return [name]
        found.group = found.group or name == found.name
        return self._members(name, settings, found)

    def _members(self, name: str, group: Mapping[str, Any], found: Found) -> list[str]:
        leaves: list[str] = []
        found.groups[name] = leaves, group.get("aggregate_metric_list")
        members = group.get("task") or []
        for member in members if isinstance(members, list) else [members]:
            named = member if isinstance(member, str) else member.get("group", member.get("task"))
            known = self.add(named, found) if isinstance(named, str) else None
            if known is None and isinstance(member, dict):
                if "group" in member:
                    known = self._members(f"{name}::{named}", member, found)
                else:
                    known = [f"{name}::{named}"]
                    found.leaves[known[0]] = member
                    found.altered.add(known[0])
            elif isinstance(member, dict):
                own = {key: value for key, value in member.items() if key not in ("task", "group")}
                for leaf in known or () if own else ():
                    found.leaves[leaf] = {**found.leaves[leaf], **own}
                    found.altered.add(leaf)
            leaves += [leaf for leaf in known or () if leaf not in leaves]
        return leaves


def read_yaml(file: Path) -> dict[str, Any]:
    """A file's settings with what it includes, as lm-eval merges them; functions are given by their names.

    Raises:
        DataError: it cannot be read as YAML, or includes itself.
    """
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the quick one, where it is
        """Leaves `!function` alone."""

    Loader.add_constructor("!function", lambda loader, node: f"!function {node.value}")
    return _merged(file.resolve(), Loader, ())


def _merged(file: Path, loader: Any, inside: tuple[Path, ...]) -> dict[str, Any]:
    import yaml

    if file in inside:
        raise DataError(f"{file}: includes itself")
    try:
        settings = yaml.load(read_bytes(file, error=DataError), Loader=loader)
    except yaml.YAMLError as error:
        raise DataError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise DataError(f"{file}: holds no mapping")
    includes = settings.pop("include", None) or []
    merged: dict[str, Any] = {}
    for included in includes if isinstance(includes, list) else [includes]:
        inner = _merged((file.parent / included).resolve(), loader, (*inside, file))
        merged |= {key: value for key, value in inner.items() if key != "task_list"}
    return merged | settings
