"""Writing the report of a run from Python, with the same errors as `aftertrain report`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aftertrain.core.errors import RunError, nearest

RUNS = "runs"


def report(run: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write a run's report as one HTML file, and return where it is.

    Args:
        run: the run's folder, or its name under `runs/`.
        out: the file; `report.html` in the run's folder by default.

    Raises:
        RunError: there is no such run, it has no events yet, one of its files is damaged, or `out` cannot be written.
        PluginError: the plugin `report` is broken or blocked.
    """
    from aftertrain.registry.builder import ComponentBuilder
    from aftertrain.registry.discovery import installed
    from aftertrain.registry.resolve import SettingsResolver

    folder = find_run(run)
    registry = installed()
    html: Any = ComponentBuilder(registry).build(SettingsResolver(registry).resolve("observer", {"use": "html"}))
    written: Path = html.write(folder, folder / "report.html" if out is None else Path(out))
    return written


def find_run(run: str | os.PathLike[str]) -> Path:
    """The folder of a run given as a path or as a name under `runs/`.

    Raises:
        RunError: it is neither; names the runs there are and the nearest one.
    """
    for folder in (Path(run), Path(RUNS) / run):
        if folder.is_dir():
            return folder
    there = sorted(path.name for path in Path(RUNS).glob("*") if path.is_dir())
    guess = nearest(str(run), there)
    hint = f" Did you mean {guess!r}?" if guess else ""
    list_ = f" There are: {', '.join(there)}." if there else f" There are no runs in {Path(RUNS).absolute()}."
    raise RunError(f"no run {str(run)!r}: it is neither a folder nor a name under {RUNS}/.{hint}{list_}")
