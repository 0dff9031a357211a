"""Suites by name: shipped with aftertrain, registered by a plugin, or a file; and single rows of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from aftertrain.core.benchmark.suite import Suite, SuiteSettings, SuiteUse
from aftertrain.core.errors import Issue, PluginError, RecipeError, RunError, unknown
from aftertrain.core.ground.reading import read_text
from aftertrain.core.ground.usage import EXPLAINED
from aftertrain.registry.bounds import SIZE
from aftertrain.registry.document import Tree, place, read
from aftertrain.registry.explain import explain
from aftertrain.registry.load import load_settings
from aftertrain.registry.tables import Registry, SuiteFile

TASK = "eval_task"
WRONG_NAME = "use_name"
ALL = "*"
MARK = "::"
"""Stands in the names of rows, and in no component's."""


@dataclass(frozen=True)
class Suites:
    """The suites of a registry.

    Args:
        base_folder: where files are relative to.
        context: what pydantic needs to validate tasks; their relative paths start beside the suite's file.
    """

    registry: Registry
    base_folder: Path | None
    context: Mapping[str, Any]

    def use(self, value: Mapping[str, Any]) -> SuiteUse | None:
        """What stands among the tasks, where it is a suite, or a row of one by the name that users know; else None.

        `{suite: NAME, …}` must be one; a bare name, and `{use: NAME, …}`, may be.

        Raises:
            PydanticCustomError: there is no such suite. ValidationError: its settings do not fit.
            RecipeError: its file does not hold; places are those of the file.
        """
        if "suite" in value:
            return self._suite(value)
        name, rest = value.get("use"), {key: item for key, item in value.items() if key != "use"}
        if not isinstance(name, str):
            return None
        if name in self.registry.suites or _is_file(name):
            return self._suite({"suite": name, **rest})
        return self._suite({"suite": self._owner(name), "rows": [name], **rest}) if MARK in name else None

    def _suite(self, value: Mapping[str, Any]) -> SuiteUse:
        name = value["suite"]
        given = dict(value)
        if isinstance(name, str) and given.get("definition") is None:
            changes = given.get("set")
            given["definition"] = self.read(name, changes if isinstance(changes, Mapping) else {})
        if isinstance(given.get("rows"), str):
            given["rows"] = [row.strip() for row in given["rows"].split(",")]
        if not isinstance(given.get("rows"), list | tuple | None):
            raise _refused(f"rows: a list of names is needed, not {given['rows']!r:.80}")
        try:
            settings = SuiteSettings.model_validate(given, context=dict(self.context))
        except ValidationError as error:
            raise explain(error, SuiteSettings, f"suite {name!r}") from error
        return SuiteUse(TASK, str(name), settings)

    def read(self, name: str, changes: Mapping[str, Any] = MappingProxyType({})) -> Suite:
        """A suite by its name or file.

        Args:
            changes: settings by row or formulation, `*` being all.
        """
        if _is_file(name):
            path = Path(name).expanduser()
            beside = path if path.is_absolute() or self.base_folder is None else self.base_folder / path
            return self._read(beside, name, changes)
        entry = self.registry.suites.get(name)
        if entry is None:
            raise _wrong_name("suite", name, self.registry.suites)
        with _opened(entry) as path:
            return self._read(path, name, changes)

    def _read(self, path: Path, name: str, changes: Mapping[str, Any]) -> Suite:
        try:
            tree = read(read_text(path, limit=SIZE), str(path))
        except RunError as error:
            raise RecipeError([Issue(str(path), "", str(error))]) from error
        plain = tree.plain()
        if isinstance(plain, dict):
            plain.setdefault("name", name)
            changed(self.registry, plain.get("rows"), changes)
        try:
            suite = Suite.model_validate(plain, context={**self.context, "base_folder": path.parent})
            suite.check()
        except ValidationError as error:
            raise RecipeError(_issues(explain(error, Suite, f"suite {name!r}"), tree)) from error
        except ValueError as error:
            raise RecipeError([Issue(str(path), "", str(error))]) from error
        return suite

    def _owner(self, row: str) -> str:
        """The suite that has a row, or a formulation of one, of this name."""
        rows = row_names(self.registry)
        if row not in rows:
            raise _wrong_name("row of a suite", row, rows)
        return rows[row]


def changed(registry: Registry, rows: Any, changes: Mapping[str, Any]) -> None:
    """Write settings into the rows of a suite's file, in place, before any is validated.

    Raises:
        PydanticCustomError: there is no such row, or of a setting of `*` no task that has it, or no mapping is given.
    """
    if not isinstance(rows, dict):
        return
    sound = {key: row for key, row in rows.items() if isinstance(row, dict)}
    names = {*rows, *(name for row in sound.values() for name in row.get("formulations") or ()), ALL}
    for name, settings in changes.items():
        if name not in names:
            raise _wrong_name("row", name, names)
        if not isinstance(settings, Mapping):
            raise _refused(f"set: {name}: a mapping of settings is needed, not {settings!r:.80}")
        for setting, value in settings.items():
            if not [key for key, row in sound.items() if _change(registry, (key, row), name, (setting, value))]:
                known = {field for row in sound.values() for field in _settings_of(registry, row)}
                raise _wrong_name(f"setting of a task of {name!r}", setting, known)


def _settings_of(registry: Registry, row: Any) -> list[str]:
    task = row.get("task")
    use = task if isinstance(task, str) else str((task or {}).get("use"))
    return list(load_settings(registry.registration(TASK, use)).model_fields)


def _change(registry: Registry, named: tuple[str, Any], name: str, change: tuple[str, Any]) -> bool:
    """Set one setting in one row where it is meant; whether it was."""
    (key, row), (setting, value) = named, change
    task, formulations = row.get("task"), row.get("formulations") or {}
    if name not in {ALL, key, *formulations}:
        return False
    if name == ALL and setting not in _settings_of(registry, row):
        return False
    if name in formulations:
        formulations[name] = {**(formulations[name] or {}), setting: value}
    else:
        row["task"] = {**({"use": task} if isinstance(task, str) else dict(task or {})), setting: value}
    row["changed"] = [*dict.fromkeys([*row.get("changed", ()), setting])]
    return True


def _wrong_name(what: str, name: str, known: Iterable[str]) -> PydanticCustomError:
    return _refused(unknown(what, name, known))


def _refused(message: str) -> PydanticCustomError:
    return PydanticCustomError(WRONG_NAME, "{message}", {"message": message, EXPLAINED: True})


def row_names(registry: Registry) -> dict[str, str]:
    """Every row and formulation by its name, with the suite that has it: of several one of ours, or the first."""
    found: dict[str, str] = {}
    # A stranger's suite may have a row of the same name, and does not take it from ours.
    for name in sorted(registry.suites, key=lambda suite: (not registry.suites[suite].origin.built_in, suite)):
        for row in _row_names(registry.suites[name]):
            found.setdefault(row, name)
    return found


@lru_cache
def _row_names(entry: SuiteFile) -> tuple[str, ...]:
    """Without looking any task up: what the file has as keys."""
    with _opened(entry) as path:
        rows = read(read_text(path, limit=SIZE), str(path)).plain().get("rows") or {}
    names: list[str] = []
    for name, row in rows.items():
        formulations = row.get("formulations") if isinstance(row, dict) else None
        names += [name, *(formulations or ())]
    return tuple(names)


def _opened(entry: SuiteFile) -> Any:
    try:
        return as_file(files(entry.package).joinpath(entry.file))
    except ModuleNotFoundError as error:
        raise PluginError(f"suite {entry.name!r}: package {entry.package!r} cannot be found") from error


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _issues(error: ValidationError, tree: Tree) -> Iterable[Issue]:
    for detail in error.errors(include_url=False):
        where, path = place(tree, _as_written(tree, detail["loc"]))
        yield Issue(where, ".".join(path), detail["msg"])


def _as_written(tree: Tree, loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where a setting of a row's task stands in the short form: in `formulations`, else in `task`."""
    if len(loc) < 4 or (loc[0], loc[2]) != ("rows", "tasks"):
        return loc
    for here in ((*loc[:2], "formulations", *loc[3:]), (*loc[:2], "task", *loc[4:])):
        if place(tree, here)[1] == tuple(map(str, here)):
            return here
    return loc
