"""The hash of a stage, what it is made of, and in words what changed between two of them.

A hash covers the settings that affect the result, the source files of the stage's components (nested ones included)
and of the modules they import, the seed, the chat template, content digests of the data, and the hashes of the parents
(the base model counts by the content of its files). Library versions are recorded beside it, not in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import BaseModel

from aftertrain.core.ground.cleaning import plain
from aftertrain.core.recipe import Recipe
from aftertrain.core.run.graph import Node
from aftertrain.core.run.sources import source_digests
from aftertrain.core.settings import IGNORED_BY_HASH, Builder, Use
from aftertrain.core.stage import BASE

SHORT = 12
"""Characters of a hash shown to people and used in folder names."""


@dataclass(frozen=True)
class Lineage:
    """What decides the result of one stage.

    Attributes:
        settings: those that affect the result.
        code: SHA-256 of each source file by module.
        data: content digests by name.
        inputs: digest of each parent by `role (stage)`.
    """

    stage: str
    use: str
    settings: Mapping[str, Any]
    code: Mapping[str, str]
    seed: int
    chat_template: str | None
    data: Mapping[str, str]
    inputs: Mapping[str, str]

    @property
    def hash(self) -> str:
        """SHA-256 over everything above, in hex."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class Recorded:
    """Content of `lineage.json`: a stage's lineage as it was written down, and why the stage was run."""

    hash: str = ""
    why: tuple[str, ...] = ()
    use: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    chat_template: str | None = None
    data: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)


def trace(node: Node, recipe: Recipe, builder: Builder, digests: Mapping[str, str]) -> Lineage:
    """The lineage of one stage.

    Args:
        digests: hash of every parent by stage name, the base model's digest under `base`.

    Raises:
        DataError: a data set cannot be read.
    """
    classes = [type(builder.build(use)) for use in components(node.use)]
    return Lineage(
        stage=node.name,
        use=node.use.name,
        settings=node.use.settings.affecting(),
        code=source_digests(classes),
        seed=recipe.seed_of(node.name),
        chat_template=recipe.chat_template,
        data=dict(sorted(node.stage.fingerprints().items())),
        inputs={f"{parent.role} ({parent.stage})": digests[parent.stage] for parent in node.inputs},
    )


def components(use: Use[Any]) -> Iterator[Use[Any]]:
    """A component and all those nested in its settings, without the ones that cannot change the result."""
    yield use
    yield from nested(use.settings)


def changes(old: Mapping[str, Any] | None, new: Lineage) -> list[str]:
    """What differs between a recorded lineage and a new one, a line each; `first run` without a record."""
    if old is None:
        return ["first run"]
    now = plain(asdict(new))  # as it would be written down
    lines = [f"{path}: {before} -> {after}" for path, before, after in _differences(old, now, ("use", "settings"))]
    lines += [f"{path}: {before} -> {after}" for path, before, after in _differences(old, now, ("seed",))]
    lines += [f"{path}: {before} -> {after}" for path, before, after in _differences(old, now, ("chat_template",))]
    lines += _mapping_changes(old.get("code", {}), now["code"], "code of {} changed", "it now uses", "no longer uses")
    lines += _mapping_changes(old.get("data", {}), now["data"], "data {}: content changed", "new data", "data left out")
    for role in now["inputs"]:
        if old.get("inputs", {}).get(role) != now["inputs"][role]:
            what = "the base model changed" if role.endswith(f"({BASE})") else "its input was redone"
            lines.append(f"input {role}: {what}")
    return lines or ["nothing changed"]


def nested(value: Any) -> Iterator[Use[Any]]:
    """All components that settings, or a value of them, name, without the ones that cannot change the result."""
    if isinstance(value, Use):
        yield from components(value)
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            extra = field.json_schema_extra
            if not (isinstance(extra, dict) and extra.get(IGNORED_BY_HASH)):
                yield from nested(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from nested(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from nested(item)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], keys: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    before = dict(_flat({key: old.get(key) for key in keys}))
    after = dict(_flat({key: new.get(key) for key in keys}))
    for path in sorted(before.keys() | after.keys()):
        one, other = before.get(path, "not set"), after.get(path, "not set")
        if one != other:
            yield path.removeprefix("settings."), one, other


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and value:
        for index, item in enumerate(value):
            yield from _flat(item, f"{path}.{index}")
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _mapping_changes(
    old: Mapping[str, str], new: Mapping[str, str], changed: str, added: str, removed: str
) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"{added} {name}"
        elif name not in new:
            yield f"{removed} {name}"
        elif old[name] != new[name]:
            yield changed.format(name)
