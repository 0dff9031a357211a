"""Where a module's source lies, found by looking at files: nothing of it is imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def module_file(name: str) -> Path | None:
    """The Python file of the module of a dotted name; None where there is none."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return None
    files = [] if rest else [Path(spec.origin or "")]
    for folder in (spec.submodule_search_locations or ()) if rest else ():
        path = Path(folder, *rest)
        files += [path / "__init__.py", path.with_name(f"{path.name}.py")]
    return next((file for file in files if file.suffix == ".py" and file.is_file()), None)
