"""With what and when a run was made: the few facts under the title, the machine, plugins and versions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from aftertrain.core.ground.cleaning import visible
from aftertrain.plugins.report import numbers
from aftertrain.plugins.report.facts import Run
from aftertrain.plugins.report.intake import mapping
from aftertrain.plugins.report.outline import flat


def facts(run: Run) -> list[tuple[str, str]]:
    """The few facts under the title."""
    hardware = _hardware(run)
    wall = sum(attempt.ended - attempt.started for attempt in run.attempts)
    tries = f" in {len(run.attempts)} attempts" if len(run.attempts) > 1 else ""
    gpus = hardware.get("gpus") or []
    threads = run.manifest.get("threads", run.recipe.get("threads"))
    cpu = hardware.get("cpu")
    found = [
        ("Base model", run.recipe.get("model")),
        ("Seed", run.manifest.get("seed", run.recipe.get("seed"))),
        ("Started", when(run.attempts[0].started)),
        ("Wall time", numbers.duration(wall) + tries),
        ("Machine", ", ".join(map(str, gpus)) if gpus else cpu),
        ("CPU threads", threads),
    ]
    return [(label, visible(str(value))) for label, value in found if value not in (None, "")]


def _hardware(run: Run) -> dict[str, Any]:
    return mapping(run.manifest.get("hardware")) or dict(run.started.hardware if run.started else {})


def machine(run: Run) -> list[tuple[str, str]]:
    """Hardware, interpreter and base model. Local paths stay out: reports are shown to others."""
    rows = [(label, "none" if value == "[]" else value) for label, value in flat(_hardware(run))]
    rows += [(key, str(run.manifest[key])) for key in ("threads", "python") if key in run.manifest]
    source = str(run.manifest.get("source", ""))
    rows += [("recipe", PurePath(source).name)] if source else []
    digest = str(mapping(run.manifest.get("base")).get("digest", ""))
    return [*rows, *([("base model", f"SHA-256 {digest}")] if digest else [])]


def plugins(run: Run) -> list[tuple[str, str]]:
    """Plugins with distribution, version and commit."""
    found = []
    for plugin in run.manifest.get("plugins") or (run.started.plugins if run.started else ()):
        row = mapping(plugin)
        commit = f", commit {str(row['commit'])[:12]}" if row.get("commit") else ""
        state = f", {row['state']}" if row.get("state") not in (None, "ok") else ""
        words = f"{row.get('distribution', '')} {row.get('version', '')}{commit}{state}"
        found.append((str(row.get("plugin", plugin)), words if row else ""))
    return found


def version(run: Run) -> str:
    """Version of aftertrain that ran it, empty when it was not recorded."""
    packages = mapping(run.manifest.get("packages")) or dict(run.started.versions if run.started else {})
    return str(packages.get("aftertrain", ""))


def when(time: float) -> str:
    """Seconds since the epoch as a time in UTC, to the minute."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC") if time else "not recorded"
