"""The program in a reply to BigCodeBench, as its own `sanitize` finds it: the longest run of lines that is Python, and
of that the imports and whatever the function asked for reaches.

Written anew from what bigcodebench does with tree-sitter, here with `ast`. What that leaves out is left out here:
decorated definitions, statements that are neither imports, definitions nor assignments to one name, and the second
definition of a name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from aftertrain.plugins.code.fence import parses, tree_of

MOST = 2_000_000
"""Characters that are parsed in search of the longest run; the reference tries all, in time cubic in the lines."""


def solution(reply: str, entry: str) -> str:
    """The program of a reply.

    >>> print(solution("import os\\nx = 1\\ndef f():\\n    return g()\\ndef g():\\n    return 1\\nThat is all.", "f"))
    import os
    def f():
        return g()
    def g():
        return 1
    """
    code = longest(reply.strip())
    tree = tree_of(code)
    if tree is None:
        return ""
    imports, definitions = _parts(tree)
    reached = _reachable({name: _names(node) for name, node in definitions}, entry)
    nodes = [*imports, *(node for name, node in definitions if name in reached)]
    lines = [line for node in nodes for line in (ast.get_source_segment(code, node) or "").splitlines()]
    return "\n".join(lines[: _end(lines, entry)])


def longest(text: str) -> str:
    """The run of lines that is Python and has most lines that are not blank; of equals the first."""
    lines = text.split("\n")
    if parses(text):
        return text
    full = [number for number, line in enumerate(lines) if line.strip()]
    spent = 0
    for first, last in _windows(len(full)):
        begin, end = full[first], full[last] + 1
        if lines[begin][0] in " \t" and not lines[begin].lstrip().startswith("#"):
            continue  # cannot begin a module
        if first == last and all(line.strip() for line in lines[max(0, begin - 1) : end + 1]):
            continue  # the reference takes no single line
        run = "\n".join(lines[begin:end])
        spent += len(run)
        if spent > MOST:
            break
        if parses(run):
            return run
    return lines[0]


def _windows(count: int) -> Iterator[tuple[int, int]]:
    """First and last of each run of `count` things, the longest first."""
    for size in range(count - 1, 0, -1):
        for first in range(count - size + 1):
            yield first, first + size - 1


def _parts(tree: ast.Module) -> tuple[list[ast.stmt], list[tuple[str, ast.stmt]]]:
    """Imports, and named definitions, the first of each name."""
    imports: list[ast.stmt] = []
    definitions: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module != "__future__"):
            imports.append(node)
        elif (name := _name(node)) is not None:
            definitions.setdefault(name, node)
    return imports, list(definitions.items())


def _name(node: ast.stmt) -> str | None:
    """The name that a statement defines, if it is of a kind that is kept."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return None if node.decorator_list else node.name
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return target.id if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) else None


def _names(node: ast.stmt) -> set[str]:
    """All identifiers within."""
    found = set()
    for part in ast.walk(node):
        found |= {str(getattr(part, field)) for field in ("id", "attr", "arg", "name") if getattr(part, field, None)}
    return found


def _reachable(names: dict[str, set[str]], entry: str) -> set[str]:
    reached, waiting = {entry}, [entry]
    while waiting:
        new = names.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached


def _end(lines: list[str], entry: str) -> int:
    """Where the lines behind the last indented one first name the function: calls of it are left out."""
    end = len(lines)
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith(" "):
            break
        if entry in lines[number]:
            end = number
    return end
