"""What the source of a module means, as a digest: its syntax tree without what cannot change a result.

Left out are comments, formatting, docstrings and other values that nothing is done with, what stands under
`if TYPE_CHECKING:`, and the descriptions of settings. The tree is written in a form of its own, because `ast.dump` and
the tokens of f-strings differ between versions of Python: one source has one digest on all of them.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

ASIDE = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Fields of nodes that follow from others, or mean nothing to a running program."""
READERS = frozenset(
    {"__doc__", "description", "getdoc", "get_docstring", "get_json_schema", "getsource", "model_json_schema"}
)
"""Names by which a program reads docstrings or descriptions: in a module where one stands, these count."""
AT_LARGE = frozenset({"globals", "vars", "locals", "eval", "exec", "__name__"})
"""Names by which a program reaches others that are not written down."""
FIELDS = frozenset({"Field", "unhashed"})
"""Functions that declare a setting."""


def meaning(tree: ast.Module, *, documented: bool | None = None) -> str:
    """SHA-256 (hex) of a parsed module's meaning; the tree is left as it is.

    Args:
        documented: whether docstrings and descriptions count; None where this module reads some.
    """
    form = _Form(documented=reads_documents(tree) if documented is None else documented)
    form.write(tree)
    return hashlib.sha256("".join(form.parts).encode()).hexdigest()


def reads_documents(tree: ast.Module) -> bool:
    """Whether a module has what reads docstrings or descriptions, be it by a name in a string."""
    return not READERS.isdisjoint(_word(node) for node in ast.walk(tree))


def _word(node: ast.AST) -> str:
    """The name that a node has, imports or writes as a text."""
    if isinstance(node, ast.alias):
        return node.name
    return str(node.value) if isinstance(node, ast.Constant) else _name(node)


def decided(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes, with the other branch in place of each `if TYPE_CHECKING:`."""
    for node in nodes:
        if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
            yield from decided(node.orelse)
        else:
            yield node


def part(tree: ast.Module, name: str) -> ast.Module:
    """What a module says of one of its names: its definition and those that it uses, the imports among them.

    The whole module where it does more than to define names, or where names may be used that cannot be seen: what else
    it does may bear on any of them.
    """
    statements = [statement for statement in decided(tree.body) if isinstance(statement, ast.stmt)]
    definitions: dict[str, ast.stmt] = {}
    for statement in statements:
        names = _defined(statement)
        if names is None or definitions.keys() & set(names):
            return tree
        definitions |= dict.fromkeys(names, statement)
    values = {name for name, statement in definitions.items() if isinstance(statement, ast.Assign | ast.AnnAssign)}
    if any(_works_on(statement, values) for statement in statements):
        return tree
    words = {id(statement): _words(statement) for statement in statements}
    mentioned = {name}.union(*words.values())
    if any(_imported(statement) - mentioned for statement in statements):
        return tree  # an import that no name is used of is there for what it does
    used: set[str] = set()
    pending = [name]
    while pending:
        wanted = pending.pop()
        if wanted in definitions and wanted not in used:
            used.add(wanted)
            pending += words[id(definitions[wanted])]
    if any(AT_LARGE & words[id(definitions[wanted])] for wanted in used):
        return tree
    parts = [_only(statement, used) for statement in statements if used.intersection(_defined(statement) or ())]
    return ast.Module(parts, []) if name in definitions else tree


def _words(statement: ast.stmt) -> set[str]:
    """The names that stand in a statement, those in texts and in annotations that are texts among them."""
    nodes = list(ast.walk(statement))
    words = {getattr(node, "id", getattr(node, "value", None)) for node in nodes if not isinstance(node, ast.alias)}
    annotations = [getattr(node, field, None) for node in nodes for field in ("annotation", "returns")]
    texts = (node for annotation in annotations if annotation for node in ast.walk(annotation))
    parts = (re.findall(r"\w+", str(node.value)) for node in texts if isinstance(node, ast.Constant))
    return {word for word in words if isinstance(word, str)}.union(*parts)


def _imported(statement: ast.stmt) -> set[str]:
    if not isinstance(statement, ast.Import | ast.ImportFrom) or getattr(statement, "module", "") == "__future__":
        return set()
    return {_bound(alias) for alias in statement.names}


def _defined(statement: ast.stmt) -> list[str] | None:
    """The names that a statement defines and does nothing else; None where it does more, or its names are not seen."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        return None if statement.decorator_list else [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        names = [_bound(alias) for alias in statement.names]
        return None if "*" in names else names
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        if any(isinstance(node, ast.NamedExpr) for node in ast.walk(statement)):
            return None
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        return names if len(names) == len(targets) else None
    return [] if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) else None


def _works_on(statement: ast.stmt, values: Container[str]) -> bool:
    """Whether an assignment calls a method of one of the module's values, which may change it."""
    calls = (node.func for node in ast.walk(statement) if isinstance(node, ast.Call))
    owners = (call.value for call in calls if isinstance(call, ast.Attribute))
    assigns = isinstance(statement, ast.Assign | ast.AnnAssign)
    return assigns and any(isinstance(owner, ast.Name) and owner.id in values for owner in owners)


def _bound(alias: ast.alias) -> str:
    return (alias.asname or alias.name).partition(".")[0]


def _only(statement: ast.stmt, names: Container[str]) -> ast.stmt:
    """An import of these names only; any other statement as it is."""
    if not isinstance(statement, ast.Import | ast.ImportFrom):
        return statement
    wanted = [alias for alias in statement.names if _bound(alias) in names]
    if isinstance(statement, ast.Import):
        return ast.Import(wanted)
    return ast.ImportFrom(statement.module, wanted, statement.level)


class _Form:
    """Writes nodes into `parts`: `(Type field=… field=…)`, fields without a value left out."""

    def __init__(self, *, documented: bool) -> None:
        self.parts: list[str] = []
        self._documented = documented
        self._settings = 0

    def write(self, value: ast.AST | str | int | None) -> None:
        """A node with all below it, or an identifier or number that stands in a field."""
        if not isinstance(value, ast.AST):
            self.parts.append(_written(value))
            return
        if isinstance(value, ast.Constant):
            self.parts.append(f"({_written(value.value)})")
            return
        settings = isinstance(value, ast.ClassDef) and any(_name(base).endswith("Settings") for base in value.bases)
        self._settings += settings
        self.parts.append(f"({type(value).__name__}")
        for field in value._fields:
            content = getattr(value, field, None)
            if content is None or field in ASIDE:
                continue
            if isinstance(content, list):
                if items := self._items(value, field, content):
                    self.parts.append(f" {field}=[")
                    for item in items:
                        self.write(item)
                        self.parts.append(",")
                    self.parts.append("]")
            elif not (isinstance(content, ast.JoinedStr) and field == "format_spec" and not _texts(content.values)):
                self.parts.append(f" {field}=")
                self.write(content)
        self.parts.append(")")
        self._settings -= settings

    def _items(self, node: ast.AST, field: str, values: list[ast.AST | str | None]) -> Sequence[ast.AST | str | None]:
        if values and isinstance(values[0], ast.stmt):
            statements = decided(value for value in values if isinstance(value, ast.AST))
            return [statement for statement in statements if self._does(statement)]
        if isinstance(node, ast.JoinedStr):
            return _texts(node.values)
        settings = self._settings and not self._documented
        if field == "keywords" and settings and isinstance(node, ast.Call) and _name(node.func) in FIELDS:
            return [word for word in values if getattr(word, "arg", "") != "description"]
        return values

    def _does(self, statement: ast.AST) -> bool:
        """Whether a statement is more than a filler, a docstring or another value that nothing is done with."""
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return self._documented and isinstance(statement.value.value, str)
        return not isinstance(statement, ast.Pass)


def _name(node: ast.AST) -> str:
    """The last name of `a`, `a.b` or `a.b[c]`; empty for anything else."""
    if isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _texts(values: Sequence[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, neighbouring texts as one, empty ones left out: versions of Python cut them apart."""
    joined: list[ast.expr] = []
    for part in values:
        if not isinstance(part, ast.Constant):
            joined.append(part)
        elif joined and isinstance(joined[-1], ast.Constant):  # both are texts
            joined[-1] = ast.Constant(str(joined[-1].value) + str(part.value))
        elif part.value:
            joined.append(part)
    return joined


_WRITE: dict[type, Callable[..., str]] = {
    int: hex,
    float: float.hex,
    complex: lambda z: f"{z.real.hex()} {z.imag.hex()}",
}


def _written(value: object) -> str:
    """A constant or an identifier, in ASCII: what is printable differs between versions of Unicode."""
    return f"{type(value).__name__} {_WRITE.get(type(value), ascii)(value)}"
