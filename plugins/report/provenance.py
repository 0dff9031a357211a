"""With what and when a run was made: the few facts under the title, the machine, plugins and versions."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import PurePath

from aftertrain.core.events import Hardware
from aftertrain.core.ground.cleaning import visible
from aftertrain.plugins.report import numbers
from aftertrain.plugins.report.facts import Run
from aftertrain.plugins.report.outline import flat


def facts(run: Run) -> list[tuple[str, str]]:
    """The few facts under the title."""
    wall = sum(attempt.ended - attempt.started for attempt in run.attempts)
    tries = f" in {len(run.attempts)} attempts" if len(run.attempts) > 1 else ""
    manifest, hardware = run.manifest, _hardware(run)
    rows = [
        ("Base model", run.recipe.get("model")),
        ("Seed", run.recipe.get("seed") if manifest.seed is None else manifest.seed),
        ("Started", when(run.attempts[0].started)),
        ("Wall time", numbers.duration(wall) + tries),
        ("Machine", ", ".join(hardware.gpus) or hardware.cpu),
        ("CPU threads", run.recipe.get("threads") if manifest.threads is None else manifest.threads),
    ]
    return [(label, visible(str(value))) for label, value in rows if value not in (None, "")]


def _hardware(run: Run) -> Hardware:
    return run.manifest.hardware or (run.started and run.started.hardware) or Hardware()


def machine(run: Run) -> list[tuple[str, str]]:
    """Hardware, interpreter and base model. Local paths stay out: reports are shown to others."""
    manifest, hardware = run.manifest, _hardware(run)
    known = {**asdict(hardware), "gpus": ", ".join(hardware.gpus) or "none"} if hardware != Hardware() else {}
    known |= {"threads": manifest.threads, "python": manifest.python, "recipe": PurePath(manifest.source).name}
    known |= {"base model": f"SHA-256 {manifest.base.digest}" if manifest.base.digest else ""}
    return [row for label, value in known.items() if value not in (None, "") for row in flat(value, label)]


def plugins(run: Run) -> list[tuple[str, str]]:
    """Plugins with distribution, version and commit."""
    rows = []
    for plugin in run.manifest.plugins or (run.started.plugins if run.started else ()):
        commit = f", commit {plugin.commit[:12]}" if plugin.commit else ""
        state = f", {plugin.state}" if plugin.state != "ok" else ""
        rows.append((plugin.plugin, f"{plugin.distribution} {plugin.version}{commit}{state}"))
    return rows


def version(run: Run) -> str:
    """Version of aftertrain that ran it, empty when it was not recorded."""
    packages = run.manifest.packages or (run.started.versions if run.started else {})
    return packages.get("aftertrain", "")


def when(time: float) -> str:
    """Seconds since the epoch as a time in UTC, to the minute."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC") if time else "not recorded"
