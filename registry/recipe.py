"""From a name or a file to a validated recipe; every mistake is collected and told with its place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from aftertrain.core.errors import Issue, RecipeError, RunError, UnknownName, unknown
from aftertrain.core.ground.reading import read_text
from aftertrain.core.ground.usage import DECIDED_BY, DEPTH, UNUSED
from aftertrain.core.recipe import Recipe
from aftertrain.core.stage import BASE
from aftertrain.core.text.chat import TEMPLATES
from aftertrain.registry.bounds import SIZE
from aftertrain.registry.builder import ComponentBuilder
from aftertrain.registry.discovery import installed
from aftertrain.registry.document import COMMAND_LINE, Tree, override, parted, place, read_on, without
from aftertrain.registry.explain import explain
from aftertrain.registry.resolve import WRONG_NAME, SettingsResolver
from aftertrain.registry.tables import Registry

SUFFIXES = (".yaml", ".yml")
SUITES = "suites/"
"""Where beside the shipped recipes the shipped suites lie."""


@dataclass(frozen=True)
class LoadedRecipe:
    """A validated recipe with what is needed to run it.

    Attributes:
        recipe: the settings.
        source: its file, as it is called in messages.
        folder: where its relative paths start.
        registry: the plugins it may use.
        tree: what the file and the overrides say, with positions.
    """

    recipe: Recipe
    source: str
    folder: Path
    registry: Registry
    tree: Tree

    @property
    def builder(self) -> ComponentBuilder:
        """Constructs the recipe's components."""
        return ComponentBuilder(self.registry, self.folder)

    def locate(self, path: str) -> str:
        """`file:line:column` of a dotted setting path, or of the nearest thing around it that is written down."""
        return place(self.tree, tuple(path.split(".")))[0]

    def dump(self) -> dict[str, Any]:
        """The resolved recipe as plain data, all defaults written out; it validates to an equal recipe."""
        return self.recipe.model_dump(mode="json", by_alias=True)


def shipped() -> dict[str, Path]:
    """Recipes that come with the package, by name (`quickstart`, `tulu3/8b`)."""
    root = Path(__file__).parent.parent / "configs"
    files = (file for suffix in SUFFIXES for file in root.rglob(f"*{suffix}"))
    names = {file.relative_to(root).with_suffix("").as_posix(): file for file in sorted(files)}
    return {name: file for name, file in names.items() if not name.startswith(SUITES)}


def find(recipe: str | os.PathLike[str]) -> Path:
    """The file of a recipe given by path or by the name of a shipped one.

    Raises:
        UnknownName: neither a file nor a shipped recipe.
    """
    written = os.fspath(recipe)
    path = Path(written).expanduser()
    if os.path.exists(path) and not path.is_dir():
        return path
    known = shipped()
    name = written.removesuffix(".yaml").removesuffix(".yml")
    if name in known:
        return known[name]
    raise UnknownName("recipe", written, known, note=f"There is no file {path.absolute()} either.")


def load(
    recipe: str | os.PathLike[str],
    overrides: Iterable[str] | Mapping[str, Any] = (),
    *,
    registry: Registry | None = None,
) -> LoadedRecipe:
    """Read and validate a recipe; nothing heavy is imported.

    Args:
        recipe: path of a YAML file, or the name of a shipped recipe.
        overrides: `path=value` texts, or a mapping of paths to values; applied in order.
        registry: what is installed, by default.

    Raises:
        RecipeError: every mistake of the file and the overrides.
        UnknownName: there is no such recipe.
    """
    path = find(recipe)
    source = os.fspath(path)
    try:
        text = read_text(path, limit=SIZE)
    except RunError as error:
        place, _, message = str(error)[len(source) :].partition(": ")
        raise RecipeError([Issue(source + place, "", message)]) from error
    return loads(text, overrides, source=source, folder=path.resolve().parent, registry=registry)


def loads(
    text: str,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    *,
    source: str = "recipe",
    folder: Path | None = None,
    registry: Registry | None = None,
) -> LoadedRecipe:
    """Validate the text of a recipe (see `load`).

    Args:
        source: what positions are called after.
        folder: where relative paths start; the current folder by default.
    """
    tree, issues = read_on(text, source)
    tree, more = _overridden(tree, overrides)
    tree, lost = _without_lost_stages(tree)
    issues += [*more, *lost]
    folder = folder or Path.cwd()
    registry = registry if registry is not None else installed(_blocked(tree))
    resolver = SettingsResolver(registry, folder)
    issues += _unknown_template(tree)
    recipe, tree, mistakes = _validated(tree, resolver)
    if mistakes is not None:
        issues += sorted([*_issues(mistakes, tree), *_unknown_parents(tree)], key=lambda issue: _line(issue.where))
    if issues or recipe is None:
        # Pydantic's own account of the same findings would only bury them in a script's traceback.
        raise RecipeError(issues) from None
    return LoadedRecipe(recipe, source, folder, registry, tree)


def _validated(tree: Tree, resolver: SettingsResolver) -> tuple[Recipe | None, Tree, ValidationError | None]:
    """The recipe or its mistakes, and the tree they are about.

    An override that chooses another mode (`schedule=constant`) drops what the file sets for the old one alone
    (`floor`), as one of `use` drops the settings of the old component.
    """
    while True:
        try:
            return Recipe.model_validate(tree.plain(), context=resolver.context), tree, None
        except ValidationError as error:
            mistakes = explain(error, Recipe, "a recipe")
        lost = [path for detail in mistakes.errors(include_url=False) if (path := _overruled(tree, detail))]
        if not lost:
            return None, tree, mistakes
        for path in lost:
            tree = without(tree, path)


def _overruled(tree: Tree, detail: Any) -> tuple[str, ...]:
    """The path of a setting of the file that does nothing because of another's override; of other findings none."""
    if detail["type"] != UNUSED:
        return ()
    where, path = place(tree, detail["loc"])
    context = detail["ctx"]
    owner = detail["loc"][: len(detail["loc"]) - context[DEPTH]]
    overridden = any(_from_command_line(tree, (*owner, name)) for name in context[DECIDED_BY])
    return path if where != COMMAND_LINE and overridden else ()


def _from_command_line(tree: Tree, loc: Iterable[int | str]) -> bool:
    """Whether an override set what stands at `loc`, or anything in it."""
    here: Tree | None = tree
    for part in loc:
        here = here.child(part) if here is not None else None
    return here is not None and any(part.where == COMMAND_LINE for part in here.parts())


def _overridden(tree: Tree, overrides: Iterable[str] | Mapping[str, Any]) -> tuple[Tree, list[Issue]]:
    issues: list[Issue] = []
    for item in overrides.items() if isinstance(overrides, Mapping) else overrides:
        try:
            tree = override(tree, *(parted(item) if isinstance(item, str) else item))
        except RecipeError as error:
            issues += error.issues
    return tree, issues


def _blocked(tree: Tree) -> tuple[str, ...]:
    """`plugins.block` before validation, because validation needs the plugins; its type is checked afterwards."""
    policy = tree.child("plugins")
    block = policy.child("block") if policy else None
    names = block.plain() if block else ()
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def _issues(error: ValidationError, tree: Tree) -> list[Issue]:
    issues = []
    for detail in error.errors(include_url=False):
        loc = (*detail["loc"], "use") if detail["type"] == WRONG_NAME else detail["loc"]
        where, path = place(tree, loc)
        issues.append(Issue(where, ".".join(map(str, loc) if detail["type"] == "missing" else path), detail["msg"]))
    return issues


def _without_lost_stages(tree: Tree) -> tuple[Tree, list[Issue]]:
    """The tree without stages that overrides made by setting something in a stage that the file does not have."""
    stages = _stages(tree)
    lost = [
        name
        for name, stage in stages.items()
        if stage.where == COMMAND_LINE and isinstance(stage.value, dict) and stage.value and "use" not in stage.value
    ]
    for name in lost:
        tree = without(tree, ("stages", name))
    there = stages.keys() - set(lost)
    return tree, [Issue(COMMAND_LINE, f"stages.{name}", unknown("stage", name, there)) for name in sorted(lost)]


def _stages(tree: Tree) -> dict[str, Tree]:
    stages = tree.child("stages")
    return stages.value if stages is not None and isinstance(stages.value, dict) else {}


def _unknown_template(tree: Tree) -> list[Issue]:
    """A chat template of a name that there is not."""
    name = tree.child("chat_template")
    if name is None or not isinstance(name.value, str) or name.value in TEMPLATES:
        return []
    where, _ = place(tree, ["chat_template"])
    return [Issue(where, "chat_template", unknown("chat template", name.value, TEMPLATES))]


def _unknown_parents(tree: Tree) -> list[Issue]:
    """Each `from` that names no stage. The graph says so too, with much more, but only when all settings are sound."""
    stages = _stages(tree)
    issues = []
    for name, stage in stages.items():
        parent = stage.child("from")
        if parent is not None and isinstance(parent.value, str) and parent.value not in (BASE, *stages):
            where, path = place(tree, ("stages", name, "from"))
            known = {*stages, BASE} - {name}
            issues.append(Issue(where, ".".join(path), unknown("stage", parent.value, known)))
    return issues


def _line(where: str) -> tuple[int, int]:
    """For sorting; overrides come first."""
    if where == COMMAND_LINE:
        return 0, 0
    _, line, column = where.rsplit(":", 2)
    return int(line), int(column)
