"""`{use: name, ...}` to a validated `Use`: lookup, local files, nested components. Imports settings, never components
of installed plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from aftertrain.core.errors import AftertrainError, PluginError, RecipeError, UnknownName
from aftertrain.core.eval_task import EvalTaskSettings
from aftertrain.core.ground.foreign import foreign, told
from aftertrain.core.ground.usage import EXPLAINED
from aftertrain.core.settings import Settings, Use
from aftertrain.registry.builder import OURS
from aftertrain.registry.describe import members
from aftertrain.registry.explain import explain
from aftertrain.registry.load import is_file, is_local, load_local, load_settings
from aftertrain.registry.tables import MEMBER, Registry

WRONG_NAME = "use_name"
"""Type of the errors that are about the value of `use` itself."""
TASK = "eval_task"
"""The kind in whose place a suite may stand."""


class SettingsResolver:
    """The `Resolver` of core, over one registry.

    Args:
        base_folder: where local files and paths in settings are relative to; the current folder by default.
    """

    def __init__(self, registry: Registry, base_folder: Path | None = None) -> None:
        self.registry = registry
        self.base_folder = base_folder

    @property
    def context(self) -> dict[str, Any]:
        """What pydantic needs to validate settings with nested components and local paths."""
        return {"resolver": self, "base_folder": self.base_folder}

    def resolve(self, kind: str, value: Mapping[str, Any]) -> Use[Any]:
        """Look up `value["use"]` and validate the other keys as its settings.

        Raises:
            PydanticCustomError: the name is missing, unknown, broken or blocked.
            ValidationError: the settings do not fit; locations are relative to `value`.
        """
        if kind == TASK and (suite := self._suite(value)) is not None:
            return suite
        name = value.get("use")
        if not isinstance(name, str):
            known = ", ".join(entry.name for entry in self.registry.registrations(kind))
            raise _wrong_name(f"'use:' must name the {kind}; there are: {known or 'none'}")
        try:
            settings_class, owner = self._settings_class(kind, name)
            name, member = self._member(kind, name, value)
        except (UnknownName, PluginError) as error:
            raise _wrong_name(str(error)) from error
        rest = {key: item for key, item in value.items() if key != "use"} | member
        what = f"{kind} {name!r} ({owner})"
        try:
            settings = self._validated(settings_class, with_defaults(settings_class, rest), what)
        except ValidationError as error:
            raise explain(error, settings_class, what) from error
        except PluginError as error:
            raise _wrong_name(str(error)) from error
        rows = settings.as_suite() if isinstance(settings, EvalTaskSettings) else None
        if rows is None:
            return Use(kind, name, settings)
        named = getattr(settings, "name", None) or name
        return self._suite({"suite": named, "definition": {"name": named, **rows}}) or Use(kind, name, settings)

    def _suite(self, value: Mapping[str, Any]) -> Use[Any] | None:
        from aftertrain.registry.suites import Suites

        try:
            return Suites(self.registry, self.base_folder, self.context).use(value)
        except RecipeError as error:
            raise _wrong_name("; ".join(map(str, error.issues))) from error

    def _validated(self, settings_class: type[Settings], value: dict[str, Any], what: str) -> Settings:
        if settings_class.__module__.startswith(OURS):
            return settings_class.model_validate(value, context=self.context)
        try:
            with foreign(f"the settings of {what}"):
                return settings_class.model_validate(value, context=self.context)
        except (ValidationError, PydanticCustomError, AftertrainError):
            raise
        except Exception as error:
            raise PluginError(f"the settings of {what} cannot be checked: they raised {told(error)}") from error

    def _member(self, kind: str, name: str, value: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        """The whole name of what is meant and, of a family's member, the setting that its name stands for.

        Raises:
            PluginError: the family alone is named, or the setting says another member than the name.
        """
        if is_local(name) or is_file(name) or not (entry := self.registry.registration(kind, name)).family:
            return name, {}
        member = name.removeprefix(entry.name) or value.get(MEMBER)
        if not isinstance(member, str) or not member:
            raise PluginError(f"which {kind} of {name!r}? Write {entry.name}NAME")
        if value.get(MEMBER, member) != member:
            raise PluginError(f"{kind} {name!r}: its setting {MEMBER!r} is what follows {entry.name!r} in its name")
        return entry.name + member, {MEMBER: member}

    def _settings_class(self, kind: str, name: str) -> tuple[type[Settings], str]:
        if is_local(name) or is_file(name):
            return load_local(kind, name, self.base_folder).Config, "a local file"
        entry = self.registry.registration(kind, name)
        return load_settings(entry), str(entry.origin)


def with_defaults(model: type[BaseModel], value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` where each mapping of a nested component that has no `use` keeps the component of the field's default.

    So `engine: {device: cpu}` sets up the default engine, at any depth of nested settings.
    """
    filled = dict(value)
    for name, field in model.model_fields.items():
        key = field.alias if field.alias in filled else name
        inner = filled.get(key)
        if not isinstance(inner, Mapping):
            continue
        if get_origin(field.annotation) is Use:
            if isinstance(field.default, str) and "use" not in inner:
                filled[key] = {"use": field.default, **inner}
            continue
        nested = [member for member in members(field.annotation) if isinstance(member, type)]
        for member in (m for m in nested if issubclass(m, BaseModel)):
            filled[key] = with_defaults(member, inner)
    return filled


def _wrong_name(message: str) -> PydanticCustomError:
    return PydanticCustomError(WRONG_NAME, "{message}", {"message": message, EXPLAINED: True})
