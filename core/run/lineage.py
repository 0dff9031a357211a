"""The hash of a stage, what it is made of, and in words what changed between two of them.

A hash covers the settings that affect the result, the meaning of the source files of the stage's components (nested
ones included) and of the modules they import, the seed, the chat template, content digests of the data, and the hashes
of the parents (the base model counts by the content of its files). Names of stages are not in it: a renamed stage is
the same stage. Library versions are recorded beside it, not in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from aftertrain.core.ground.cleaning import plain
from aftertrain.core.recipe import Recipe
from aftertrain.core.run.graph import Node
from aftertrain.core.run.sources import source_digests
from aftertrain.core.settings import Builder, components
from aftertrain.core.stage import BASE

SHORT = 12
"""Characters of a hash shown to people and used in folder names."""


@dataclass(frozen=True)
class Lineage:
    """What decides the result of one stage.

    Attributes:
        stage: its name, for people.
        settings: those that affect the result, without those that name a parent.
        code: SHA-256 of the meaning of each source file by module (see `source_digests`).
        data: content digests by name.
        inputs: digest of each parent by `role (stage)`, of which the stage's name is for people.
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
        deciding = asdict(self)
        del deciding["stage"]
        deciding["inputs"] = sorted((key.rpartition(" (")[0], digest) for key, digest in self.inputs.items())
        canonical = json.dumps(deciding, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
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
    classes = [cls for use in components(node.use) for cls in (type(builder.build(use)), type(use.settings))]
    return Lineage(
        stage=node.name,
        use=node.use.name,
        settings=nameless(node.use.settings.affecting(), {parent.role: parent.stage for parent in node.inputs}),
        code=source_digests(classes),
        seed=recipe.seed_of(node.name),
        chat_template=recipe.chat_template,
        data=dict(sorted(node.stage.fingerprints().items())),
        inputs={f"{parent.role} ({parent.stage})": digests[parent.stage] for parent in node.inputs},
    )


def changes(old: Mapping[str, Any] | None, new: Lineage) -> list[str]:
    """What differs between a recorded lineage and a new one, a line each; `first run` without a record."""
    if old is None:
        return ["first run"]
    now = plain(asdict(new))  # as it would be written down
    keys = (("use", "settings"), ("seed",), ("chat_template",))
    lines = [f"{path}: {was} -> {becomes}" for names in keys for path, was, becomes in _differences(old, now, names)]
    before, after = _parents(old.get("inputs", {})), _parents(now["inputs"])
    lines += _parent_changes(before, after)
    rows = "data {}: changed, by the settings above or by its content" if lines else "data {}: content changed"
    lines += _mapping_changes(old.get("code", {}), now["code"], "code of {} changed", "it now uses", "no longer uses")
    lines += _mapping_changes(old.get("data", {}), now["data"], rows, "new data", "data left out")
    for role, (stage, digest) in after.items():
        if role in before and before[role][0] == stage and before[role][1] != digest:
            what = "the base model changed" if stage == BASE else "its input was redone"
            lines.append(f"input {role} ({stage}): {what}")
    return lines or ["nothing changed"]


def nameless(settings: dict[str, Any], parents: Mapping[str, str]) -> dict[str, Any]:
    """Settings without those that name the parent of a role and nothing else: its digest says more.

    A setting that names several parents stays: the names are told in the result.
    """
    for role, parent in parents.items():
        *owners, name = _setting(role).split(".")
        there: Any = settings
        for owner in owners:
            there = there[int(owner)] if isinstance(there, list) else there.get(owner)
        if isinstance(there, dict) and there.get(name) == parent:
            del there[name]
    return settings


def _setting(role: str) -> str:
    """The setting that names the parent of a role."""
    return "from" if role == "model" else role


def _parents(inputs: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Stage and digest by role, of `role (stage)`."""
    parts = ((*key.removesuffix(")").rpartition(" (")[::2], digest) for key, digest in inputs.items())
    return {role: (stage, digest) for role, stage, digest in parts}


def _parent_changes(before: Mapping[str, tuple[str, str]], after: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Settings that name another parent now; one that is only named otherwise is the same parent."""
    for role in sorted(before.keys() | after.keys()):
        was, becomes = before.get(role, ("not set", "")), after.get(role, ("not set", ""))
        if ":" not in role and was[0] != becomes[0] and was[1] != becomes[1]:
            yield f"{_setting(role)}: {was[0]} -> {becomes[0]}"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], keys: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    before = dict(_flat({key: old.get(key) for key in keys}))
    after = dict(_flat({key: new.get(key) for key in keys}))
    for path in sorted(before.keys() | after.keys()):
        was, becomes = before.get(path, "not set"), after.get(path, "not set")
        if was != becomes:
            yield path.removeprefix("settings."), was, becomes


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
