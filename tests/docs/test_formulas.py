"""docs/formulas.md tells the truth about which formulas of the source document exist.

A row is `| id | what | state | reach | module | test | page |`. *done* and *part* need a module that cites the id, a
test that cites it and a page of the documentation, *done* a way to reach it too (`test_reach.py` goes it); *planned*
has none of the four. Code and tests that both cite an id make it at least *part*.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "formulas.md"
CODE = ("core", "registry", "plugins", "src/aftertrain/cli", "src/aftertrain/testing")
IDS = [f"F{number}" for number in range(1, 53)]


@dataclass(frozen=True)
class Row:
    id: str
    what: str
    state: str
    reach: str
    module: str
    test: str
    page: str


def rows(text: str) -> dict[str, Row]:
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if re.fullmatch(r"F\d+", cells[0]):
            row = Row(*cells)
            assert row.id not in found, f"{row.id} has two rows"
            found[row.id] = row
    return found


@cache
def citations(*folders: str) -> dict[str, frozenset[str]]:
    """For each id, the Python files below `folders` that cite it; `F11-F16` and `F11–F16` cite all between."""
    found: dict[str, set[str]] = {id: set() for id in IDS}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            for first, last in re.findall(r"\bF(\d+)(?:[-–]F(\d+))?\b", text):
                for number in range(int(first), int(last or first) + 1):
                    if f"F{number}" in found:
                        found[f"F{number}"].add(path.relative_to(ROOT).as_posix())
    return {id: frozenset(files) for id, files in found.items()}


def cited_in_tests(id: str) -> frozenset[str]:
    return frozenset(file for file in citations("tests")[id] if not file.startswith("tests/docs/"))


def targets(cell: str) -> list[str]:
    """Paths in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture(scope="module")
def table() -> dict[str, Row]:
    return rows(TABLE.read_text(encoding="utf-8"))


def test_every_formula_has_one_row(table: dict[str, Row]) -> None:
    assert list(table) == IDS


@pytest.mark.parametrize("id", IDS)
def test_state_is_true(table: dict[str, Row], id: str) -> None:
    row = table[id]
    if row.state == "planned":
        assert (row.reach, row.module, row.test, row.page) == ("", "", "", ""), f"{id} is planned and yet names a place"
        both = citations(*CODE)[id] and cited_in_tests(id)
        assert not both, f"{id} is planned, but code {sorted(citations(*CODE)[id])} and tests cite it"
        return
    assert row.state.split(":")[0] in ("done", "part"), f"{id}: state {row.state!r}"
    assert row.state == "done" or row.state.startswith("part: "), f"{id}: 'part: ' is followed by what is missing"
    assert row.reach or row.state != "done", f"{id} is done, and no command or recipe line reaches it"
    modules, tests = targets(row.module), targets(row.test)
    assert modules, f"{id} names no module"
    assert tests, f"{id} names no test"
    for module in modules:
        assert module in citations(*CODE)[id], f"{module} does not cite {id} (or is not there)"
    for test in tests:
        assert test in cited_in_tests(id), f"{test} does not cite {id} (or is not there)"
    pages = re.findall(r"\]\(([^)#]+)", row.page)
    assert pages, f"{id} names no page"
    for page in pages:
        assert (TABLE.parent / page).exists() or page.startswith("reference/components/"), f"{id}: no page {page}"


def test_reader() -> None:
    text = (
        "| id | what | state | reach | module | test | page |\n|--|--|--|--|--|--|--|\n| F1 | Q | planned | | | | |\n"
    )
    assert rows(text) == {"F1": Row("F1", "Q", "planned", "", "", "", "")}
    assert targets("`core/batch.py`, `core/loss.py`") == ["core/batch.py", "core/loss.py"]
