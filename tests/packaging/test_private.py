"""Nothing private is used across files: a name with an underscore is its module's own, here and in tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = ("core", "registry", "plugins", "src/aftertrain")
READERS = (*OURS, "tests", "benchmarks", "docs")
BOUND = re.compile(r"\b(?:def|class) (_[A-Za-z]\w*)|\b(_[A-Za-z]\w*)(?::[^=\n]+)? ?=|\b(?:self|cls)\.(_[A-Za-z]\w*)")
"""What gives a private name to a function, a class, a variable, a field or an attribute."""
HELD = re.compile(
    r"^ +(?:async )?def (_[A-Za-z]\w*)|^    (_[A-Za-z]\w*)(?::[^=\n]+)? ?=|self\.(_[A-Za-z]\w*)", re.MULTILINE
)
"""Of these, what an object has."""
USED = re.compile(r"\.(_[A-Za-z]\w*)|^ *from aftertrain\S* import [^#\n]*?\b(_[A-Za-z]\w*)", re.MULTILINE)


@lru_cache
def texts(folders: tuple[str, ...]) -> dict[Path, str]:
    """Python files, each once: what lies behind the links of the package is found in its own folder."""
    links = tuple(f"{ROOT / 'src' / 'aftertrain' / name}/" for name in (*OURS[:3], "configs"))
    found = sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return {file: file.read_text(encoding="utf-8") for file in found if not str(file).startswith(links)}


def names(pattern: re.Pattern[str], text: str) -> set[str]:
    return {name for groups in pattern.findall(text) for name in groups if name and not name.endswith("__")}


def uses(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, kind (`import`, `module` or `object`) and private name of each use of another's; other packages' apart."""
    tree = ast.parse(text)
    modules, others = set(), {"self", "cls"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            others |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aftertrain"):
            modules |= {alias.asname or alias.name for alias in node.names if alias.name.islower()}
            yield from ((node.lineno, "import", a.name) for a in node.names if re.match("_[A-Za-z]", a.name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match("_[A-Za-z]", node.attr) and isinstance(node.ctx, ast.Load):
            owner = ast.unparse(node.value)
            if owner not in others:
                yield node.lineno, "module" if owner in modules else "object", node.attr


def test_no_module_uses_what_is_private_to_another() -> None:
    """In our modules and benchmarks attributes of objects, too; tests may look into an object, not into a module."""
    defined, held = (set().union(*(names(p, text) for text in texts(OURS).values())) for p in (BOUND, HELD))
    faults = []
    for file, text in texts(READERS).items():
        foreign = (names(USED, text) & defined) - names(BOUND, text)
        if not foreign:
            continue
        inside = file.relative_to(ROOT).parts[0] == "tests"
        for line, kind, name in uses(text):
            if kind == "import" or (name in foreign and (kind == "module" or (name in held and not inside))):
                faults.append(f"{file.relative_to(ROOT)}:{line}: {name}")
    assert not faults, "\n".join(faults)


def test_a_use_of_a_private_name_is_seen() -> None:
    source = "from aftertrain.core import x\nfrom aftertrain.core.y import _z\nx._a\ny._b\nself._c\nother.__len__\n"
    assert list(uses(source)) == [(2, "import", "_z"), (3, "module", "_a"), (4, "object", "_b")]
    assert names(USED, source) == {"_z", "_a", "_b", "_c"}
    bound = "def _f(): ...\nclass _C:\n    _field: int = 1\nself._held = 2\n_constant = 3\nupdate(_given=4)\n"
    assert names(BOUND, bound) == {"_f", "_C", "_field", "_held", "_constant", "_given"}
