"""The picture of the rooms in the docs, against the source; no two files import each other."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rooms() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_rooms_picture", ROOT / "docs" / "make_rooms_picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def graph(rooms: ModuleType) -> dict[str, set[str]]:
    imported: dict[str, set[str]] = rooms.imports()
    return imported


def test_the_picture_shows_what_the_source_imports(rooms: ModuleType, graph: dict[str, set[str]]) -> None:
    drawn = (ROOT / "docs" / "images" / "rooms.svg").read_text(encoding="utf-8")
    assert drawn == rooms.draw(rooms.arrows(graph)), "an arrow came or went: python docs/make_rooms_picture.py"
    assert "(../images/rooms.svg)" in (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")


def test_every_arrow_goes_down(rooms: ModuleType, graph: dict[str, set[str]]) -> None:
    order = list(dict.fromkeys(rooms.rooms().values()))
    assert [pair for pair in rooms.arrows(graph) if order.index(pair[0]) > order.index(pair[1])] == []
    assert set(order) == set(rooms.SAID)


def test_no_files_import_each_other(rooms: ModuleType, graph: dict[str, set[str]]) -> None:
    assert len(graph) > 400
    assert "aftertrain.core.errors" in graph["aftertrain.core.text.chat"]
    assert rooms.circles(graph) == []


def test_modules_and_files_that_prose_names_are_there(graph: dict[str, set[str]]) -> None:
    """`core.learning.seeding.sub_seed` in a docstring, `core/learning/rl.py` on a page; the page of moves apart."""
    lost = []
    for file in _prose():
        text = file.read_text(encoding="utf-8")
        where = file.relative_to(ROOT).as_posix()
        for dotted in re.findall(r"`(core(?:\.[a-z_]+)+)", text):
            parts = f"aftertrain.{dotted}".split(".")
            modules = [".".join(parts[:count]) for count in range(3, len(parts) + 1)]
            last = max((name for name in modules if name in graph), key=len, default="")
            # What follows a module is a name in it; what follows a room must be one of its modules.
            if not last or (_is_room(last) and last != modules[-1]):
                lost.append(f"{where}: {dotted}")
        paths = re.findall(r"`((?:core|registry|plugins|tests/\w+|docs|src/aftertrain)/[\w/]+\.py)\b", text)
        lost += [f"{where}: {path}" for path in paths if not (ROOT / path).exists()]
    assert lost == []


def _prose() -> Iterator[Path]:
    for folder, kinds in (("core", "py"), ("registry", "py"), ("plugins", "py"), ("src", "py tmpl"), ("docs", "md")):
        for kind in kinds.split():
            yield from (path for path in (ROOT / folder).rglob(f"*.{kind}") if path.name != "migration.md")
    yield from (ROOT / "README.md", ROOT / "CONTRIBUTING.md")


def _is_room(module: str) -> bool:
    return (ROOT / module.removeprefix("aftertrain.").replace(".", "/")).is_dir()


def test_imports_of_every_form_are_seen(rooms: ModuleType, tmp_path: Path) -> None:
    """Late ones, those for type checkers, modules as names of a package; circles of two and of three."""
    sources = {
        "a.py": "def f():\n    import aftertrain.core.b\n",
        "b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from aftertrain.core.a import f\n",
        "inner/__init__.py": "",
        "inner/x.py": "from aftertrain.core.inner import y\n",
        "inner/y.py": "from aftertrain.core.inner.z import K\n",
        "inner/z.py": "from aftertrain.core.inner import x as other\nfrom aftertrain.core.a import f\n",
    }
    for name, source in sources.items():
        file = tmp_path / "core" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")
    assert rooms.circles(rooms.imports(tmp_path)) == [
        ["aftertrain.core.a", "aftertrain.core.b"],
        ["aftertrain.core.inner.x", "aftertrain.core.inner.y", "aftertrain.core.inner.z"],
    ]
