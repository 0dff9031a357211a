"""Draw the rooms and which imports which: `python docs/make_rooms_picture.py [PICTURE]`.

Imports are read from the source, those for type checkers too. The rooms and their order are those of the contracts in
pyproject.toml. A room stands on the diagonal; an arrow goes right from the one that imports and down to the one that is
imported, so that an arrow to the left and up, drawn red, would be one against the order.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "rooms.svg"
SAID = {
    "roof": "command line, Python calls, kit",
    "plugins": "what does the work",
    "registry": "finding and choosing",
    "asking": "a model asked in words",
    "completions": "replies made once, kept",
    "run": "recipes walked, remembered",
    "learning": "a step, its plan, its ranks",
    "packed": "token ids to scores",
    "overlap": "evaluation items in training data",
    "playing": "episodes, turn by turn",
    "verification": "judging in processes",
    "sandbox": "programs behind walls",
    "rows": "rows at rest, through operators",
    "interfaces": "what a plugin implements",
    "benchmark": "rows and shots of tasks",
    "text": "conversations to token ids",
    "ground": "records, settings, errors",
}
TOPS = ("core", "plugins", "registry")
WIDE, HIGH, STEP_X, STEP_Y, EDGE = 208, 40, 76, 54, 12


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Source files of the package by dotted name."""
    files = {}
    for top, folder in (("aftertrain", root / "src" / "aftertrain"), *((f"aftertrain.{n}", root / n) for n in TOPS)):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if top != "aftertrain" or parts[0] not in TOPS:  # there, links to the others
                files[".".join([top, *(parts[:-1] if parts[-1] == "__init__" else parts)])] = path
    return files


def imports(root: Path = ROOT) -> dict[str, set[str]]:
    """Modules that each module imports, wherever in it the import stands."""
    files = modules(root)
    return {name: set(_imported(path, files)) - {name} for name, path in files.items()}


def _imported(path: Path, files: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom) and node.module in files:
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in files else node.module for name in inner)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, however far around."""
    reached: dict[str, set[str]] = {}
    for start, others in graph.items():
        pending, seen = list(others), set()
        while pending:
            name = pending.pop()
            if name not in seen:
                seen.add(name)
                pending += graph[name]
        reached[start] = seen
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def rooms() -> dict[str, str]:
    """The room of each child of `aftertrain` or `aftertrain.core`, rooms from the top to the ground."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    house, core = (
        [[name.strip("() ") for name in layer.replace("|", ":").split(":")] for layer in contract["layers"]]
        for contract in settings["tool"]["importlinter"]["contracts"][:2]
    )
    names = {name: "roof" for layer in house for name in layer if name not in TOPS}
    names |= {name: name for name in ("plugins", "registry")}
    for layer in core:
        shared = "ground" if "ground" in layer else "interfaces" if len(layer) > 2 else None
        names |= {f"core.{name}": shared or name for name in layer}
    return names


def arrows(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Pairs of rooms of which the first imports the second."""
    of = rooms()

    def room(name: str) -> str:
        parts = name.split(".")[1:]
        return of.get(".".join(parts[:2] if parts[:1] == ["core"] else parts[:1]), "roof")

    pairs = {(room(name), room(other)) for name, others in graph.items() for other in others}
    return {(first, second) for first, second in pairs if first != second}


def draw(pairs: set[tuple[str, str]]) -> str:
    """The picture, as SVG."""
    order = list(dict.fromkeys(rooms().values()))
    size = (len(order) - 1) * STEP_X + WIDE + 2 * EDGE, (len(order) - 1) * STEP_Y + HIGH + 2 * EDGE
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" font-family="sans-serif">',
        "<title>Rooms, each with arrows to those that it imports</title>",
        f'<rect width="{size[0]}" height="{size[1]}" fill="#ffffff"/>',
    ]
    for first, second in sorted(pairs, key=lambda pair: tuple(map(order.index, pair))):
        lines.append(_arrow(order.index(first), order.index(second)))
    for place, name in enumerate(order):
        x, y = EDGE + place * STEP_X, EDGE + place * STEP_Y
        lines += [
            f'<rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="5" fill="#eef2f7" stroke="#44546a"/>',
            f'<text x="{x + 8}" y="{y + 17}" font-size="14" font-weight="bold" fill="#1f2937">{name}</text>',
            f'<text x="{x + 8}" y="{y + 33}" font-size="12" fill="#44546a">{SAID[name]}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _arrow(first: int, second: int) -> str:
    """Right and down; left and up, and red, where the order is broken."""
    down = second > first
    row = EDGE + first * STEP_Y + HIGH / 2
    column = EDGE + second * STEP_X + WIDE - 12
    start = EDGE + first * STEP_X + (WIDE if down else 0)
    end = EDGE + second * STEP_Y + (0 if down else HIGH)
    tip = end - 6 if down else end + 6
    colour = "#7a8699" if down else "#d00000"
    head = f"M{column - 4} {tip} L{column + 4} {tip} L{column} {end} Z"
    return (
        f'<path d="M{start} {row:g} H{column} V{tip}" fill="none" stroke="{colour}"/>'
        f'<path d="{head}" fill="{colour}"/><circle cx="{column}" cy="{row:g}" r="2.5" fill="{colour}"/>'
    )


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE).write_text(draw(arrows(imports())), encoding="utf-8")
