"""Every benchmark ends soon with --quick and writes its rows with --json."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
CHILDREN = {
    "evaluate_child.py",
    "online_ours_child.py",
    "online_peer_child.py",
    "online_update_child.py",
    "resume_child.py",
    "train_ours_child.py",
    "train_peer_child.py",
}
"""Started by a benchmark, not by people."""


def is_program(path: Path) -> bool:
    return "__main__" in path.read_text(encoding="utf-8") and path.name not in CHILDREN


PROGRAMS = sorted(path.name for path in FOLDER.glob("*.py") if is_program(path))


def options(tree: ast.AST) -> set[str]:
    """Options that a program declares, by itself or by `table.add_options`."""
    declared: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "add_options":
                declared |= {"--quick", "--json"}
            elif name == "add_argument":
                declared |= {word.value for word in node.args if isinstance(word, ast.Constant)}
    return declared


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_benchmark_has_both_options_and_heeds_them(name: str) -> None:
    tree = ast.parse((FOLDER / name).read_text(encoding="utf-8"))
    assert {"--quick", "--json"} <= options(tree)
    assert {"quick", "json"} <= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_children_are_told_from_programs() -> None:
    assert {path.name for path in FOLDER.glob("*_child.py")} - {"online_child.py", "train_child.py"} == CHILDREN
    assert "train.py" in PROGRAMS
    assert options(ast.parse("parser.add_argument('-q', '--quick', help='x')")) == {"-q", "--quick"}
