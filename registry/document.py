"""YAML 1.2 as a tree that remembers positions, and overrides on it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from aftertrain.core.errors import Issue, RecipeError
from aftertrain.core.ground import redaction
from aftertrain.registry.bounds import DEPTH, EXPANDED, SIZE, BoundedComposer, check_text, decimal, whole

COMMAND_LINE = "command line"
OVERRIDE = "an override is written path=value, as in stages.dpo.loss.beta=2"
_TEXT = "tag:yaml.org,2002:str"
_TAG = re.compile(r"tag:yaml\.org,2002:[a-z]+")
INDEX = re.compile(r"[0-9]{1,9}")
"""A place in a list, as it is written in a path."""
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: value for name, value in (("true", True), ("false", False)) for word in (name, name.title(), name.upper())
}


@dataclass(frozen=True)
class Tree:
    """A value with its place.

    Attributes:
        value: a scalar, a mapping of trees, or a list of trees.
        where: `file:line:column` counted from 1, or `command line`.
        keys: places of a mapping's keys.
    """

    value: Any
    where: str
    keys: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> Any:
        """The value as dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def parts(self) -> Iterator[Tree]:
        """The tree and all in it."""
        yield self
        if isinstance(self.value, dict | list):
            for child in self.value.values() if isinstance(self.value, dict) else self.value:
                yield from child.parts()

    def child(self, part: str | int) -> Tree | None:
        """The entry of a mapping or list, or None."""
        if isinstance(self.value, dict):
            return self.value.get(str(part))
        if isinstance(self.value, list) and isinstance(part, int) and 0 <= part < len(self.value):
            item: Tree = self.value[part]
            return item
        return None


def read(text: str, source: str) -> Tree:
    """Parse one YAML document.

    Args:
        source: what positions are called after, the file's name.

    Raises:
        RecipeError: not YAML, a key that is no string, or keys given twice; all of the latter are collected.
    """
    tree, issues = read_on(text, source)
    if issues:
        raise RecipeError(issues)
    return tree


def read_on(text: str, source: str) -> tuple[Tree, list[Issue]]:
    """Like `read`, but mistakes one can read past are handed back beside the tree, so that later ones are told too.

    Of keys given twice the tree has the first.

    Raises:
        RecipeError: not YAML, or empty.
    """
    if len(text) > SIZE:
        long = f"{len(text):,} characters; a recipe has at most {SIZE:,}. Rows belong into files that 'data' names"
        raise RecipeError([Issue(source, "", long)])
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = BoundedComposer
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = _place(source, mark) if mark else source
        raise RecipeError([Issue(where, "", f"not YAML: {error.problem or error.context}")]) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        fault = f"not YAML: the character U+{ord(text[error.position]):04X}"
        raise RecipeError([Issue(f"{source}:{line}:1", "", fault)]) from error
    except (YAMLError, RecursionError, ValueError) as error:
        raise RecipeError([Issue(source, "", f"not YAML: {error}")]) from error
    if root is None:
        raise RecipeError([Issue(f"{source}:1:1", "", "the file is empty; a recipe has name, model and stages")])
    reader = _Reader(source)
    return reader.tree(root, ()), reader.issues


class _Reader:
    """Turns composed nodes into trees; aliases become copies, so that an override changes one place only."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.issues: list[Issue] = []
        self.open: list[int] = []
        self.count = 0

    def tree(self, node: Any, path: tuple[str, ...]) -> Tree:
        where = _place(self.source, node.start_mark)
        self.count += 1
        if self.count > EXPANDED or len(self.open) > DEPTH:
            size = f"{EXPANDED:,} values" if self.count > EXPANDED else f"{DEPTH} levels"
            self._note(where, path, f"with its aliases written out the file has more than {size}")
            raise RecipeError(self.issues)
        if id(node) in self.open:
            self._note(where, path, "an alias that contains itself")
            return Tree(None, where)
        self.open.append(id(node))
        if not _TAG.fullmatch(str(node.tag)):
            self._note(where, path, f"the tag {node.tag} has no meaning here")
        try:
            if isinstance(node, ScalarNode):
                return Tree(_scalar(node), where)
            if isinstance(node, SequenceNode):
                return Tree([self.tree(item, (*path, str(i))) for i, item in enumerate(node.value)], where)
            return self._mapping(node, path, where)
        except ValueError as error:
            self._note(where, path, str(error))
            return Tree(None, where)
        finally:
            self.open.pop()

    def _note(self, where: str, path: tuple[str, ...], message: str) -> None:
        self.issues.append(Issue(where, ".".join(path), message))

    def _mapping(self, node: MappingNode, path: tuple[str, ...], where: str) -> Tree:
        value: dict[str, Tree] = {}
        keys: dict[str, str] = {}
        merged: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            place = _place(self.source, key_node.start_mark)
            if not isinstance(key_node, ScalarNode):
                self._note(place, path, "a key must be a word")
                continue
            key = str(key_node.value)
            try:
                check_text(key)
            except ValueError as error:
                self._note(place, path, f"as a key {error}")
                continue
            child = self.tree(value_node, (*path, key))
            redaction.note(key, child.value)
            if key == "<<" and key_node.style is None:
                for part in child.value if isinstance(child.value, list) else [child]:
                    if isinstance(part.value, dict):
                        merged |= {k: v for k, v in part.value.items() if k not in merged}
                    else:
                        self._note(place, path, "'<<' merges mappings only")
            elif key in value:
                first = keys[key].removeprefix(f"{self.source}:")
                self._note(place, (*path, key), f"the key is given twice, first at {first}")
            else:
                value[key], keys[key] = child, place
        return Tree({**{k: v for k, v in merged.items() if k not in value}, **value}, where, keys)


def override(tree: Tree, path: str, value: str | Any) -> Tree:
    """The tree with one setting replaced; missing mappings on the way are made.

    Giving another `use` drops the old component's other keys, except those that were themselves overridden.

    Args:
        path: keys and list indices joined by dots.
        value: text is read as YAML; anything else is taken as it is.

    Raises:
        RecipeError: the path leads into a scalar or past the end of a list, or the value is not YAML.
    """
    parts = path.split(".")
    redaction.note(parts[-1], value)
    if len(parts) > DEPTH:
        raise _refused(path, f"more than {DEPTH} levels")
    if not all(parts) or not path.isprintable():
        raise _refused(path, OVERRIDE)
    return _set(tree, parts, _grow(_read_value(value, path) if isinstance(value, str) else value, path), path)


def parted(text: str) -> tuple[str, str]:
    """Path and value of an override that is written `path=value`.

    Raises:
        RecipeError: it has no equals sign.
    """
    path, equals, value = text.partition("=")
    if not equals:
        raise _refused(path, OVERRIDE)
    return path, value


def _refused(path: str, message: str) -> RecipeError:
    return RecipeError([Issue(COMMAND_LINE, path, message)])


def _read_value(text: str, path: str) -> Any:
    if not text.strip() and "\0" not in text:
        return text
    try:
        return read(text, COMMAND_LINE).plain()
    except RecipeError as error:
        raise RecipeError(Issue(COMMAND_LINE, path, issue.message) for issue in error.issues) from error


def _set(tree: Tree, parts: list[str], new: Tree, path: str) -> Tree:
    if not parts:
        return new
    part, rest = parts[0], parts[1:]
    if isinstance(tree.value, list):
        if not INDEX.fullmatch(part) or int(part) >= len(tree.value):
            raise _refused(path, f"{part!r} is not an index of a list of {len(tree.value)} (the first is 0)")
        items = list(tree.value)
        items[int(part)] = _set(items[int(part)], rest, new, path)
        return replace(tree, value=items)
    if isinstance(tree.value, str):
        tree = Tree({"use": Tree(tree.value, tree.where)}, tree.where)
    elif tree.value is None:
        tree = Tree({}, tree.where)
    if not isinstance(tree.value, dict):
        raise _refused(path, f"{part!r} cannot be set inside {tree.value!r} ({tree.where})")
    old = tree.value.get(part)
    value = dict(tree.value)
    if part == "use" and not rest and old is not None and old.value != new.value:
        value = {key: child for key, child in value.items() if key == "use" or child.where == COMMAND_LINE}
    value[part] = _set(old if old is not None else Tree({}, COMMAND_LINE), rest, new, path)
    return replace(tree, value=value)


def without(tree: Tree, path: Sequence[str]) -> Tree:
    """The tree without the entry at a path of keys (numbers within lists); itself where there is none."""
    first, *rest = path
    if isinstance(tree.value, list):
        return replace(tree, value=[without(c, rest) if str(i) == first else c for i, c in enumerate(tree.value)])
    if not isinstance(tree.value, dict) or first not in tree.value:
        return tree
    if rest:
        return replace(tree, value={**tree.value, first: without(tree.value[first], rest)})
    return replace(tree, value={key: child for key, child in tree.value.items() if key != first})


def _grow(value: Any, path: str, level: int = 0) -> Tree:
    """Plain data of the command line as a tree; relative paths in it are taken from the current folder.

    Raises:
        RecipeError: it is deeper than any setting, as where a list holds itself.
    """
    if level > DEPTH:
        raise _refused(path, f"more than {DEPTH} mappings and lists inside one another")
    if isinstance(value, Mapping):
        return Tree({str(key): _grow(item, path, level + 1) for key, item in value.items()}, COMMAND_LINE)
    if isinstance(value, list | tuple):
        return Tree([_grow(item, path, level + 1) for item in value], COMMAND_LINE)
    relative = isinstance(value, str) and value.startswith(("./", "../"))
    return Tree(str(Path.cwd() / value) if relative else value, COMMAND_LINE)


def _scalar(node: ScalarNode) -> Any:
    """The YAML 1.2 core schema: `5e-6` is a number, `no` and `1_000` are words.

    Raises:
        ValueError: a number or a text that no setting can hold.
    """
    text: str = node.value
    if node.style is not None or node.tag == _TEXT:
        check_text(text)
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return whole(text)
    if _FLOAT.fullmatch(text):
        return decimal(text)
    if infinite := _INFINITE.fullmatch(text):
        return float("nan") if infinite[3] else float(f"{infinite[1]}inf")
    return text


def _place(source: str, mark: Any) -> str:
    return f"{source}:{mark.line + 1}:{mark.column + 1}"


def place(tree: Tree, loc: Iterable[int | str]) -> tuple[str, tuple[str, ...]]:
    """Where `loc` stands (a key's place when it has one) and its path; parts that nobody wrote are skipped."""
    here, where = tree, tree.where
    path: tuple[str, ...] = ()
    for part in loc:
        index = int(part) if isinstance(part, str) and INDEX.fullmatch(part) and isinstance(here.value, list) else part
        child = here.child(index)
        if child is None:
            continue
        where = here.keys.get(str(part), child.where) if child.where != COMMAND_LINE else COMMAND_LINE
        here, path = child, (*path, str(part))
    return where, path
