"""Reads the tests before they run, in the owner: which names mean what, which calls of the program come first, and
their compiled code. What was read is kept, because many replies are tested by the same tests."""

from __future__ import annotations

import ast
import builtins
import json
import marshal
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from aftertrain.core.sandbox import wire
from aftertrain.core.sandbox.limits import UnitTests

AHEAD = 64
"""Calls that are sent ahead."""
_BRANCHES = (
    ast.BoolOp,
    ast.IfExp,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.Lambda,
    ast.NamedExpr,
)
_WILD = {"setattr", "delattr", "exec", "eval", "compile", "open", "globals", "locals", "vars", "input", "breakpoint"}
_TAME = {"bisect", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "itertools", "math"}
_TAME |= {"numpy", "operator", "random", "re", "statistics", "string", "typing"}
_LITERAL = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.UnaryOp, ast.Load, ast.USub, ast.UAdd)


def job(tests: UnitTests, start: int, timeout: float, *, stop: bool) -> bytes:
    """What the examiner is sent: the tests from number `start` on, the seconds for each, and whether to stop at the
    first that does not pass.

    Raises:
        SyntaxError, ValueError: a source is no Python.
    """
    statements = tests.statements[start:]
    asked = {
        "preamble": len(tests.preamble),
        "calls": tests.calls[max(0, start - len(tests.statements)) :],
        "entry": tests.entry,
        "timeout": timeout,
        "stop": stop,
    }
    asked |= read(tests.preamble, statements, tests.entry)
    return marshal.dumps((json.dumps(asked), [code(source) for source in (*tests.preamble, *statements)]))


@lru_cache(512)
def read(preamble: tuple[str, ...], statements: tuple[str, ...], entry: str | None) -> dict[str, Any]:
    """What the examiner is told of the tests, apart from their code.

    Raises:
        SyntaxError, ValueError: a source is no Python.
    """
    sources = [ast.parse(source) for source in (*preamble, *statements)]
    modules, theirs = meanings(sources, entry)
    first = [
        (name, [wire.encode(argument, repr) for argument in arguments])
        for name, arguments in first_calls(sources, theirs)[:AHEAD]
    ]
    return {"modules": sorted(modules), "theirs": sorted(theirs), "first": first, "tame": all(map(tame, sources))}


@lru_cache(4096)
def code(source: str) -> bytes:
    """The compiled source, for the examiner, which is the same Python."""
    return marshal.dumps(compile(source, "<tests>", "exec", dont_inherit=True))


def meanings(sources: Sequence[ast.Module], entry: str | None) -> tuple[frozenset[str], frozenset[str]]:
    """Which names of the tests are modules of Python's library, and which are the program's even if they are builtins.

    UnitTests that call nothing but builtins test the program's functions of those names.
    """
    modules, called = set(), set()
    for source in sources:
        for node in ast.walk(source):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                modules.add(node.value.id)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                called.add(node.func.id)
    ours = {name for name in called if hasattr(builtins, name)}
    theirs = {entry} if entry else (called - ours or set(_first_called(sources, modules)))
    return frozenset(modules & sys.stdlib_module_names), frozenset(theirs)


def _first_called(sources: Sequence[ast.Module], modules: set[str]) -> list[str]:
    """The outermost builtin that tests call first, when nothing else can be what they test."""
    nodes = [node for source in sources for node in ast.walk(source)]
    named = {node.id for node in nodes if isinstance(node, ast.Name)} - modules
    if any(not hasattr(builtins, name) for name in named):
        return []
    return [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)][:1]


def tame(source: ast.Module) -> bool:
    """Whether tests can leave nothing behind in their process, so that it may examine other programs after them.

    They set no attributes, reach for nothing private, and use only modules of values.
    """
    for node in ast.walk(source):
        match node:
            case ast.Attribute(attr=attr, ctx=context):
                if attr.startswith("_") or not isinstance(context, ast.Load):
                    return False
            case ast.Global() | ast.Nonlocal() | ast.Delete() | ast.ClassDef():
                return False
            case ast.Name(id=name):
                if name in _WILD or name.startswith("__") or (name in sys.stdlib_module_names and name not in _TAME):
                    return False
            case ast.Import(names=names):
                if any(name.name not in _TAME for name in names):
                    return False
            case ast.ImportFrom(module=module):
                if module not in _TAME:
                    return False
    return True


def first_calls(sources: Sequence[ast.Module], theirs: frozenset[str]) -> list[tuple[str, list[Any]]]:
    """The calls of the program that the tests begin with, whatever comes of them: (function, arguments) in order.

    It ends before the first call that depends on a branch, a loop or a value. Bodies of functions count only for a
    `check(candidate)` that the last statement calls with the entry point.
    """
    calls: list[tuple[str, list[Any]]] = []
    defined = {n.name: n for source in sources for n in source.body if isinstance(n, ast.FunctionDef)}
    for source in sources:
        for statement in source.body:
            if isinstance(statement, ast.FunctionDef | ast.Import | ast.ImportFrom):
                continue
            call = statement.value if isinstance(statement, ast.Expr) else None
            match call:
                case ast.Call(func=ast.Name(id=name), args=[ast.Name(id=entry)], keywords=[]) if name in defined:
                    body, parameters = defined[name].body, defined[name].args.args
                    if len(parameters) != 1 or entry not in theirs:
                        return calls
                    aliases = {parameters[0].arg: entry}
                    for inner in body:
                        if not _collect(inner, aliases, calls):
                            return calls
                case _:
                    if not _collect(statement, {other: other for other in theirs - set(defined)}, calls):
                        return calls
    return calls


def _collect(statement: ast.stmt, names: dict[str, str], calls: list[tuple[str, list[Any]]]) -> bool:
    """Add the calls of one statement; whether all of it was understood."""
    if not isinstance(statement, ast.Assert | ast.Expr | ast.Assign):
        return False
    inside: list[tuple[str, list[Any]]] = []
    mentioned = sum(isinstance(node, ast.Name) and node.id in names for node in ast.walk(statement))
    for node in _in_order(statement):
        if isinstance(node, _BRANCHES):
            return False
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name):
                return False
            if node.func.id in names:
                if node.keywords or not all(map(_literal, node.args)):
                    return False
                inside.append((names[node.func.id], [ast.literal_eval(argument) for argument in node.args]))
            elif not hasattr(builtins, node.func.id):
                return False
    calls += inside
    return mentioned == len(inside)


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes in the order in which Python evaluates them; an assertion's message only when it fails."""
    for child in [node.test] if isinstance(node, ast.Assert) else ast.iter_child_nodes(node):
        yield from _in_order(child)
    yield node


def _literal(node: ast.AST) -> bool:
    return all(isinstance(inner, _LITERAL) for inner in ast.walk(node))
