"""JSON Schema of recipes over everything installed, so that editors complete and check them.

Each kind is a definition that every nested component refers to (`$defs/loss`): a bare name, a local file's class, or a
mapping that is told apart by its `use`. Components that cannot be used stand there by name, with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from aftertrain.core.benchmark.suite import SuiteSettings
from aftertrain.core.errors import PluginError
from aftertrain.core.kinds import KINDS
from aftertrain.core.recipe import Recipe
from aftertrain.core.settings import IGNORED_BY_HASH, SCHEMA_MARK, Settings
from aftertrain.registry.load import load_settings
from aftertrain.registry.resolve import TASK
from aftertrain.registry.suites import row_names
from aftertrain.registry.tables import MEMBER, Registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NOT_FOR_EDITORS = (SCHEMA_MARK, IGNORED_BY_HASH)
BARE = "-without-use"
"""Ends the name of a component's definition for where it is the default, and `use` may be left out."""
LOCAL_FILE = r"^(\.{1,2}|~)?/.*\.py:[A-Za-z_][A-Za-z0-9_]*$"


def recipe_schema(registry: Registry) -> dict[str, Any]:
    """The schema of a recipe file."""
    definitions: dict[str, Any] = {}
    for kind in KINDS:
        definitions[kind] = _kind(registry, kind, definitions)
    root = _definition(Recipe, "recipe", definitions)
    written = json.dumps([root, definitions])
    unreferred = {key for key in definitions if key.endswith(BARE) and f'"#/$defs/{key}"' not in written}
    definitions = {key: part for key, part in definitions.items() if key not in unreferred}
    return {"$schema": DIALECT, "title": "aftertrain recipe", **root, "$defs": dict(sorted(definitions.items()))}


def _kind(registry: Registry, kind: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Choices of one kind: `anyOf` a name and a mapping; adds the components' own definitions."""
    names: list[str] = []
    patterns: list[dict[str, Any]] = []
    mappings: list[dict[str, Any]] = []
    unusable = registry.withheld(kind)
    for entry in registry.registrations(kind):
        if entry.name in unusable:
            continue
        try:
            settings = load_settings(entry)
        except PluginError as error:
            unusable[entry.name] = str(error)
            continue
        key = f"{kind}.{entry.name.rstrip('/').replace('/', '.')}"
        about = entry.summary if entry.origin.built_in else f"{entry.summary} [{entry.origin}]"
        own = _definition(settings, key, definitions)
        use: dict[str, Any] = {"const": entry.name}
        needed = {name for name, field in settings.model_fields.items() if field.is_required()}
        if entry.family:
            use = {"type": "string", "pattern": f"^{re.escape(entry.name)}.+$"}
            needed.discard(MEMBER)
        definitions[key] = _component(own, entry.name, about, use)
        definitions[key + BARE] = own
        mappings.append({"$ref": f"#/$defs/{key}"})
        if not needed:
            patterns += [use] * entry.family
            names += [entry.name] * (not entry.family)
    for name, reason in sorted(unusable.items()):
        note = f"cannot be used: {reason}"
        only_its_name = {"type": "object", "properties": {"use": {"const": name}}, "required": ["use"]}
        mappings.append({**only_its_name, "$comment": note, "description": note})
    if kind == TASK:
        names += [*sorted(registry.suites), *row_names(registry)]
        mappings.append(_suite(registry))
    local = {"type": "string", "pattern": LOCAL_FILE, "description": "A class in a file: ./my_file.py:Class"}
    mappings.append({"type": "object", "properties": {"use": local}, "required": ["use"]})
    return {
        "description": KINDS[kind].summary,
        "anyOf": [
            *([{"enum": names, "type": "string"}] if names else []),
            *patterns,
            local,
            {"oneOf": mappings, "discriminator": {"propertyName": "use"}, "type": "object"},
        ],
    }


def _suite(registry: Registry) -> dict[str, Any]:
    """A suite in the place of a task. What its file says is filled in when a recipe is read, and is not written."""
    fields = SuiteSettings.model_fields
    texts: dict[str, Any] = {"type": "string"}
    named = {"anyOf": [{"enum": sorted(registry.suites)}, {**texts, "pattern": r"\.ya?ml$"}]}
    types: dict[str, Any] = {"suite": named, "rows": {"type": "array", "items": texts}, "reference": texts}
    types["set"] = {"type": "object", "additionalProperties": {"type": "object"}}
    return {
        "type": "object",
        "properties": {name: {**schema, "description": fields[name].description} for name, schema in types.items()},
        "required": ["suite"],
        "additionalProperties": False,
    }


def _component(schema: Mapping[str, Any], name: str, about: str, use: Mapping[str, Any]) -> dict[str, Any]:
    """A settings schema with the `use` that picks it; of a family, it says the member as well."""
    said = set() if "const" in use else {MEMBER}
    return {
        **schema,
        "title": name,
        "description": about,
        "properties": {"use": {**use, "description": about}, **schema.get("properties", {})},
        "required": ["use", *(key for key in schema.get("required", []) if key not in said)],
        "additionalProperties": False,
    }


def _definition(model: type[Settings], key: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Pydantic's schema of `model`; its own definitions move under names that begin with `key`."""
    schema: dict[str, Any] = _referring(model.model_json_schema(by_alias=True, ref_template=f"#/$defs/{key}.{{model}}"))
    definitions.update({f"{key}.{name}": part for name, part in schema.pop("$defs", {}).items()})
    return schema


def _referring(schema: Any) -> Any:
    """`schema` with marks of nested components made references to their kinds, and pydantic's titles left out."""
    if isinstance(schema, list):
        return [_referring(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    referring = {key: _referring(item) for key, item in schema.items() if key not in _NOT_FOR_EDITORS}
    if isinstance(referring.get("title"), str):
        del referring["title"]
    if SCHEMA_MARK not in schema:
        return referring
    kind, default = schema[SCHEMA_MARK], schema.get("default")
    if not isinstance(default, str):
        return {"$ref": f"#/$defs/{kind}", **referring}
    # Without `use` the mapping sets up the default component.
    return {"anyOf": [{"$ref": f"#/$defs/{kind}"}, {"$ref": f"#/$defs/{kind}.{default}{BARE}"}], **referring}
