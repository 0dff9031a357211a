"""An extra is there when code asks for it: pyproject.toml, the hints in messages and the pages name the same ones."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
GROUPS = {"all", "dev", "docs", "test"}
"""Extras for people who install several things at once, not for a component."""
HINT = re.compile(r"aftertrain\[([a-z0-9,-]+)\]")
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("core", "registry", "plugins", "src")


def sources() -> Iterator[str]:
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            yield file.read_text(encoding="utf-8")


def asked_for() -> set[str]:
    """Extras in `pip install` hints, and those that are handed to the error `MissingExtra`."""
    names: set[str] = set()
    for text in sources():
        names |= {name for hint in HINT.findall(text) for name in hint.split(",")}
        if "MissingExtra" in text or "require(" in text:
            for call in ast.walk(ast.parse(text)):
                if isinstance(call, ast.Call) and ast.unparse(call.func) in ("MissingExtra", "require"):
                    names |= {a.value for a in call.args if isinstance(a, ast.Constant)} & EXTRAS.keys()
    return names - {"extra"}


def test_each_extra_is_asked_for_by_code_and_each_hint_names_an_extra() -> None:
    assert asked_for() == EXTRAS.keys() - GROUPS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_name_extras_that_exist(page: Path) -> None:
    hints = {name for hint in HINT.findall(page.read_text(encoding="utf-8")) for name in hint.split(",")}
    assert hints <= EXTRAS.keys()


def test_the_page_of_dependencies_has_a_row_for_each_extra() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").partition("## Extras")[2]
    rows = {m[1]: m[2] for m in re.finditer(r"^\| `([^`]+)` \| ([^|]+) \|", page.partition("\n## ")[0], re.MULTILINE)}
    assert rows.keys() == EXTRAS.keys()
    for extra in ("all", "test"):
        (joined,) = [found for requirement in EXTRAS[extra] for found in HINT.findall(requirement)]
        assert set(re.findall(r"`([^`]+)`", rows[extra])) == set(joined.split(",")), extra
