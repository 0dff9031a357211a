"""Which source files a component's result depends on, found by reading imports without running them.

From a component's module, imports are followed into aftertrain and into the component's own package. Imports under
`if TYPE_CHECKING:` are left out: they cannot change a result. So are modules that are reached by a name in a string
(`core.component.aside`): what plans, tries and tells; and the types of events. The other way round, a module that
decides and is started by its path, and a file that is read, are named in a constant of the module that does so:
`RELIES_ON = ("acme.worker", "words.json")`. Package `__init__` modules count only when something is imported from them.
Of a module of settings, which may serve many components, what is imported from it counts, with what that uses; the
whole of it where that cannot be told. Docstrings count in a package of which a module reads some. Other
libraries are not followed: their versions are recorded beside the hash. A file outside any package goes by its
file name, so that a recipe's folder can be moved.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from aftertrain.core.errors import PluginError
from aftertrain.core.ground.module_file import module_file
from aftertrain.core.run.meaning import decided, meaning, part, reads_documents

OURS = "aftertrain"
TELLS = "aftertrain.core.events"
"""In no digest: what a stage says of itself is read back by no stage."""
RELIES_ON = "RELIES_ON"
"""The constant, a tuple of texts, that names what decides and is not imported."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is read of one file.

    Attributes:
        digest: SHA-256 (hex) of its meaning.
        imports: dotted names; `from a import b` gives `a.b`, which may be a module or a thing in `a`.
        named: content of its constant `RELIES_ON`.
        reads: whether it reads docstrings, be it those of others.
        documented: SHA-256 of its meaning, docstrings included; of a module of ours its digest.
    """

    digest: str
    imports: tuple[str, ...]
    named: tuple[str, ...]
    reads: bool
    documented: str


def source_digests(classes: Iterable[type | Callable[..., Any]]) -> dict[str, str]:
    """SHA-256 (hex) of the meaning of each source file that classes or functions reach, by module name.

    A part of a module of settings goes by `module:Class`.

    Raises:
        PluginError: a class has no source file, a file is no Python, or what one names in `RELIES_ON` is not there.
    """
    sources: dict[str, Source | str] = {}
    local: dict[str, Path] = {}
    for cls in classes:
        _walk(cls, sources, local)
    readers = {_package(name) for name, source in sources.items() if isinstance(source, Source) and source.reads}
    return {name: _digest(sources[name], _package(name) in readers) for name in sorted(sources)}


def _package(name: str) -> str:
    return name.partition(":")[0].partition(".")[0]


def _digest(source: Source | str, documented: bool) -> str:
    """A source's digest, with docstrings where a module of its package reads some; or that of a file beside one."""
    return source if isinstance(source, str) else source.documented if documented else source.digest


def _walk(cls: type | Callable[..., Any], sources: dict[str, Source | str], local: dict[str, Path]) -> None:
    """Find what one class reaches.

    Args:
        local: files outside packages by the names that they go by.
    """
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        raise PluginError(f"{cls.__module__}:{cls.__qualname__} has no source file, so its stage has no hash")
    own = cls.__module__.partition(".")[0]
    start = cls.__module__ if "." in cls.__module__ else _apart(Path(file), local)
    pending = [_told(start, Path(file), cls.__qualname__)]
    while pending:
        name, path = pending.pop()
        if name in sources:
            continue
        source = sources[name] = read_source(path, name)
        ours = (wanted for wanted in source.imports if wanted.partition(".")[0] in (OURS, own))
        followed = (wanted for wanted in ours if not f"{wanted}.".startswith(f"{TELLS}."))
        pending += filter(None, map(_locate, followed))
        for wanted in source.named:
            if (named := _locate(wanted)) is not None and named[0] == wanted:
                pending.append(named)
            elif (beside := path.with_name(wanted)).is_file():
                sources[f"{name}/{wanted}"] = hashlib.sha256(beside.read_bytes()).hexdigest()
            else:
                raise PluginError(f"{path}: {RELIES_ON} names {wanted!r}, neither a module nor a file beside it")


def _apart(path: Path, local: dict[str, Path]) -> str:
    """The name of a file outside any package, with a number where another one of this name was found before."""
    names = (f"{path.name} ({number})" if number > 1 else path.name for number in count(1))
    return next(name for name in names if local.setdefault(name, path) == path)


def _told(module: str, path: Path, thing: str) -> tuple[str, Path]:
    """What is digested of a module of which a thing is wanted: of one of settings, that thing."""
    settings = module.rpartition(".")[2].endswith("settings") and thing and thing != "*"
    return f"{module}:{thing}" if settings else module, path


def read_source(path: Path, name: str) -> Source:
    """One source file of the module `name`, or of `module:thing`, read again where it has changed.

    Raises:
        PluginError: it is no Python.
    """
    return source_of(path, name, path.read_bytes())


@lru_cache(maxsize=4096)
def source_of(path: Path, name: str, text: bytes) -> Source:
    """What is read of a file of this content."""
    tree = _parsed(path, text)
    module, _, thing = name.partition(":")
    tree = part(tree, thing) if thing else tree
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    reads = reads_documents(tree)
    digest = meaning(tree, documented=reads)
    documented = digest if _package(name) == OURS else meaning(tree, documented=True)
    return Source(digest, tuple(_names(tree.body, package)), tuple(_named(tree.body)), reads, documented)


@lru_cache(maxsize=4)
def _parsed(path: Path, text: bytes) -> ast.Module:
    try:
        return ast.parse(text, filename=str(path))
    except SyntaxError as error:
        raise PluginError(f"{path}:{error.lineno}: cannot be read as Python, so it has no digest: {error}") from error


def _named(body: Iterable[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            yield from ast.literal_eval(node.value) if ast.unparse(node.targets[0]) == RELIES_ON else ()


def _names(nodes: Iterable[ast.AST], package: str) -> Iterator[str]:
    for node in decided(nodes):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(node, package)
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif not isinstance(node, ast.expr):
            yield from _names(ast.iter_child_nodes(node), package)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    above = package.split(".")[: package.count(".") + 2 - node.level]
    return ".".join([*above, node.module] if node.module else above)


def _locate(name: str) -> tuple[str, Path] | None:
    """The module that an imported name is or lies in, by looking at files only; None for one not written in Python."""
    owner, _, thing = name.rpartition(".")
    if (file := module_file(name)) is not None:
        return name, file
    return _told(owner, file, thing) if owner and (file := module_file(owner)) is not None else None
