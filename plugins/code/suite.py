"""Test modules written for pytest, read as tests of functions: what is a test in them, and what they import.

pytest itself is not run: it would have to share a process with the program, where a pass can be faked. The tests run
in the examiner, with the names of `marks.py` in place of the package; what those do not have is an error of the ground
truth, never a failed test.
"""

from __future__ import annotations

import ast
import builtins
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from aftertrain.core.sandbox.limits import UnitTests
from aftertrain.plugins.code.fence import quietly

NAMES = frozenset({"raises", "approx", "param", "fixture", "fail", "mark"})
"""Of pytest, what `marks.py` has."""
_FUTURE = "from __future__ import annotations\n"
_MARKS, _RUN = "__marks__", "__run__"
UNCALLED = frozenset(f"{when}_{what}" for when in ("setup", "teardown") for what in ("module", "function"))
"""Functions that pytest calls around a module's tests."""
NO_MARKS = frozenset({"skipif", "xfail", "usefixtures"})
"""Marks that change what a pass is."""


def parsed(source: str, name: str) -> ast.Module:
    """The source as a tree.

    Raises:
        ValueError: it is no Python; the message begins with `name`.
    """
    try:
        with quietly():
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{name} is no Python: {error}") from error


def read(source: str, module: str) -> UnitTests:
    """The tests of a module, one for each function or method of that kind, whatever its parametrized values.

    Args:
        module: name by which the tests import the program.

    Raises:
        ValueError: it is no Python, holds no test, or needs what is not there; the message names it.
    """
    tree = parsed(source, "the test module")
    tree.body = [node for node in tree.body if not _asks_for_main(node)]
    imports = _Imports(module)
    tree = ast.fix_missing_locations(imports.visit(tree))
    _check_marks(tree)
    if around := [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in UNCALLED]:
        raise ValueError(f"the test module has {around[0]}, which is not called")
    fixtures = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and _is_fixture(node)}
    tests = list(_tests(tree, fixtures))
    if not tests:
        raise ValueError("the test module holds no function or method whose name begins with test")
    values = "{" + ", ".join(f"{name!r}: {name}" for name in sorted(fixtures)) + "}"
    hidden = [name for name in imports.taken if hasattr(builtins, name) or name in sys.stdlib_module_names]
    statements = tuple(f"{_RUN}({name}, {values})" for name in tests)
    return UnitTests(statements, (_marks(), ast.unparse(tree)), hidden[0] if hidden else None)


class _Imports(ast.NodeTransformer):
    """Takes out imports of pytest and of the program; names of theirs stay.

    Attributes:
        taken: names that the tests import from the program.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self.taken: list[str] = []
        self._programs: set[str] = set()

    def visit_Import(self, node: ast.Import) -> ast.stmt | list[ast.stmt]:
        """`import pytest`, `import solution as s`: the names stand for themselves."""
        statements: list[ast.stmt] = []
        for name in node.names:
            if name.name == self.module:
                self._programs.add(name.asname or name.name)
            elif name.name == "pytest":
                statements += [] if name.asname in (None, "pytest") else [_assigned(name.asname, "pytest")]
            else:
                self._check_known(name.name)
                statements.append(ast.Import([name]))
        return statements or ast.Pass()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt | list[ast.stmt]:
        """`from solution import f as g` names g what the program calls f."""
        if node.module == self.module:
            self.taken += [name.name for name in node.names if name.name != "*"]
            renamed = [name for name in node.names if name.asname not in (None, name.name)]
            return [_assigned(str(name.asname), name.name) for name in renamed] or ast.Pass()
        if node.module == "pytest":
            return [_assigned(name.asname or name.name, f"pytest.{name.name}") for name in node.names]
        self._check_known(node.module or ".")
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """`solution.f` is the program's f."""
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id in self._programs:
            self.taken.append(node.attr)
            return ast.copy_location(ast.Name(node.attr, node.ctx), node)
        return node

    def _check_known(self, name: str) -> None:
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names and root != "__future__":
            raise ValueError(
                f"the test module imports {name}, which is neither Python's own nor the program; the setting 'module' "
                f"is the name by which tests import the program, now {self.module!r}"
            )


def _assigned(name: str | None, value: str) -> ast.stmt:
    return ast.parse(f"{name} = {value}").body[0]


def _asks_for_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test))


def _check_marks(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        if isinstance(node.value, ast.Name) and node.value.id == "pytest" and node.attr not in NAMES:
            raise ValueError(f"the test module needs pytest.{node.attr}; there are: {', '.join(sorted(NAMES))}")
        if isinstance(node.value, ast.Attribute) and node.value.attr == "mark" and node.attr in NO_MARKS:
            raise ValueError(f"the test module needs pytest.mark.{node.attr}, which is not there")


def _is_fixture(node: ast.FunctionDef) -> bool:
    named = [ast.unparse(mark.func if isinstance(mark, ast.Call) else mark) for mark in node.decorator_list]
    options = [keyword.arg for mark in node.decorator_list if isinstance(mark, ast.Call) for keyword in mark.keywords]
    if not any(name in ("pytest.fixture", "fixture") for name in named):
        return False
    if odd := [option for option in options if option != "scope"]:
        raise ValueError(f"the fixture {node.name} has the option {odd[0]!r}; only scope may be given")
    return True


def _tests(tree: ast.Module, fixtures: set[str]) -> Iterator[str]:
    """Expressions of the tests, in their order; those with the mark `skip` are left out."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            if _runs(node, fixtures, 0):
                yield node.name
        elif isinstance(node, ast.ClassDef) and any(ast.unparse(base) != "object" for base in node.bases):
            if node.name.startswith("Test") or any("TestCase" in ast.unparse(base) for base in node.bases):
                raise ValueError(f"the class {node.name} of the test module inherits; only plain classes hold tests")
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
            for name in ("setup_class", "setup_method", "teardown_method", "teardown_class", "__init__"):
                if any(method.name == name for method in methods):
                    raise ValueError(f"the class {node.name} of the test module has {name}, which is not called")
            for method in methods:
                if method.name.startswith("test") and _runs(method, fixtures, 1):
                    yield f"{node.name}().{method.name}"


def _runs(test: ast.FunctionDef | ast.AsyncFunctionDef, fixtures: set[str], own: int) -> bool:
    """Whether the test is to be run; all that it wants must be there."""
    marks = [mark for mark in test.decorator_list if "mark." in ast.unparse(mark)]
    named = [ast.unparse(mark.func if isinstance(mark, ast.Call) else mark).rpartition(".")[2] for mark in marks]
    if "skip" in named:
        return False
    provided: set[str] = set(fixtures)
    for mark, name in zip(marks, named, strict=True):
        if name == "parametrize" and isinstance(mark, ast.Call) and mark.args:
            provided |= set(_names(mark.args[0]))
    for argument in test.args.args[own:]:
        if argument.arg not in provided:
            raise ValueError(
                f"{test.name} of the test module wants {argument.arg!r}, a fixture that is not in the module"
            )
    return True


def _names(node: ast.expr) -> list[str]:
    """The argument names that a parametrize gives, as one text or a list of them."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return []
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else [str(name) for name in value]


RELIES_ON = ("aftertrain.plugins.code.marks",)


@cache
def _marks() -> str:
    """The source of `marks.py` within a function, so that of its names tests see two."""
    source = Path(__file__).with_name("marks.py").read_text(encoding="utf-8")
    body = source.partition(_FUTURE)[2]
    inner = textwrap.indent(body, "    ")
    return f"{_FUTURE}def {_MARKS}():\n{inner}\n    return pytest, run\npytest, {_RUN} = {_MARKS}()\n"
