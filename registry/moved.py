"""Where what a plugin imports of aftertrain in vain is today."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

RENAMED = {"checkpointing": "recompute"}
"""Modules of API 1 that have another name, not only another room."""
INNER = ("aftertrain.cli.", "aftertrain.plugins.")
"""Rooms that a plugin has little reason to import from: named only where no other has the name."""


def moved(error: Exception) -> str:
    """Where what an import of aftertrain looked for is now, to follow its message; empty for any other error."""
    if not isinstance(error, ImportError) or not (error.name or "").startswith("aftertrain."):
        return ""
    if named := re.match(r"cannot import name '(\w+)'", str(error)):
        wanted = named[1]
        defined = re.compile(rf"^(class |def )?{wanted}\b", re.MULTILINE)
        homes = [module for module, file in _modules() if defined.search(file.read_text(encoding="utf-8"))]
    else:
        last = str(error.name).rpartition(".")[2].removeprefix("api_")
        wanted = RENAMED.get(last, last)
        homes = [module for module, _ in _modules() if module.rpartition(".")[2] == wanted]
    if not homes:
        return f"; nothing of the name {wanted!r} is in aftertrain {version('aftertrain')}"
    homes = sorted(module for module in homes if not module.startswith(INNER)) or sorted(homes)
    return f"; it {'is' if len(homes) == 1 else 'may be'} {'in ' * bool(named)}{' or '.join(homes)} now"


def _modules() -> Iterator[tuple[str, Path]]:
    """Names and files of all of aftertrain's modules, none of which is imported."""
    root = Path(__file__).parents[1]
    for folder, _, files in os.walk(root, followlinks=True):  # the rooms are links in a checkout
        for file in (Path(folder, name) for name in files if name.endswith(".py")):
            parts = file.relative_to(root).with_suffix("").parts
            yield ".".join(["aftertrain", *(part for part in parts if part != "__init__")]), file
