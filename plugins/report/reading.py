"""Reading a run folder: `read_run` turns its files into `facts.Run`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from aftertrain.core.errors import RunError
from aftertrain.core.events import Event, read_events
from aftertrain.core.ground.reading import read_json
from aftertrain.core.run.lineage import SHORT
from aftertrain.plugins.report.facts import Attempt, Run, Stage
from aftertrain.plugins.report.intake import mapping, note_event, note_scores, parents, sequence

_HOW = {
    "finished": "finished",
    "failed": "failed",
    "interrupted": "stopped by the user",
    "unfinished": "no end recorded: killed, or still running",
}
RunStatus = Literal["finished", "failed", "interrupted", "unfinished"]


def read_run(folder: Path) -> Run:
    """Everything the report needs from a run folder, partial ones included.

    Raises:
        RunError: there is no such folder, no `events.jsonl` in it, no event in that, or a file is damaged.
    """
    path = folder / "events.jsonl"
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run folder. Give the folder that 'aftertrain run' wrote, such as runs/NAME.")
    if not path.is_file():
        raise RunError(f"{folder}: not a run folder: it has no events.jsonl. Give a folder such as runs/NAME.")
    events = read_events(path)
    if not events:
        raise RunError(f"{path}: holds no events, so there is nothing to report. Start the run: aftertrain run RECIPE")
    manifest = _json(folder / "manifest.json")
    started = next((event.data for event in reversed(events) if event.name == "run_started"), {})
    recipe = mapping(manifest.get("recipe")) or mapping(started.get("recipe"))
    last = max(event.attempt for event in events)
    status, error = _status([event for event in events if event.attempt == last])
    order = sequence(manifest.get("order")) or sequence(started.get("order"))
    return Run(
        folder=folder,
        name=str(recipe.get("name") or started.get("name") or manifest.get("name") or folder.resolve().name),
        status=status,
        error=error,
        manifest=manifest,
        recipe=recipe,
        started=started,
        stages=_stages(folder, events, mapping(recipe.get("stages")), order),
        attempts=_attempts(events),
        warnings=tuple(str(e.data.get("message", e.data)) for e in events if e.name == "warning" and not e.stage),
    )


def _status(events: Sequence[Event]) -> tuple[RunStatus, str]:
    """How an attempt ended, from its events."""
    for event in reversed(events):
        if event.name == "run_done":
            return "finished", ""
        if event.name == "run_failed":
            status: RunStatus = "interrupted" if event.data.get("interrupted") else "failed"
            return status, str(event.data.get("error", ""))
    return "unfinished", ""


def _stages(folder: Path, events: Iterable[Event], settings: dict[str, Any], order: Sequence[str]) -> tuple[Stage, ...]:
    """Stages in the order of the run; those of an older recipe that is no longer in it are left out."""
    stages: dict[str, Stage] = {}
    for event in events:
        if event.stage:
            stage = stages.setdefault(event.stage, Stage(event.stage))
            _note_course(stage, event)
            note_event(stage, event)
        elif event.name == "run_failed":
            stopped = stages.get(str(event.data.get("at", "")))
            if stopped is not None and stopped.status == "unfinished":
                stopped.status = "interrupted" if event.data.get("interrupted") else "failed"
    for name, stage_settings in settings.items():
        stage = stages.setdefault(name, Stage(name))
        stage.settings = mapping(stage_settings)
    places = {name: place for place, name in enumerate([*order, *settings])}
    known = [stage for stage in stages.values() if not settings or stage.name in settings]
    for stage in known:
        _complete(stage, folder)
    return tuple(sorted(known, key=lambda stage: places.get(stage.name, len(places))))


def _note_course(stage: Stage, event: Event) -> None:
    data = event.data
    if event.name in ("stage_started", "stage_reused"):
        stage.hash = str(data.get("hash") or stage.hash)
        stage.use = str(data.get("use") or stage.use)
        stage.parents = parents(data.get("inputs")) or stage.parents
    if event.name == "stage_started":
        stage.status, stage.started = "unfinished", event.time
        stage.why = tuple(map(str, sequence(data.get("why"))))
    elif event.name == "stage_reused":
        stage.status = "reused"
    elif event.name == "stage_done":
        stage.status = "done"
    if event.name in ("stage_reused", "stage_done"):
        stage.artifact = mapping(data.get("artifact")) or stage.artifact
    if stage.started is not None and event.name == "stage_done":
        seconds = mapping(data.get("timing")).get("seconds")
        stage.seconds = float(seconds) if isinstance(seconds, int | float) else event.time - stage.started


def _complete(stage: Stage, folder: Path) -> None:
    """Add what the stage's folder knows and the events did not say."""
    stage.use = stage.use or str(stage.settings.get("use", ""))
    if not stage.parents and stage.settings:
        given = {"model": stage.settings.get("from", "base"), "critic": stage.settings.get("critic")}
        stage.parents = parents({role: name for role, name in given.items() if isinstance(name, str)})
    stage.folder = folder / "stages" / f"{stage.name}-{stage.hash[:SHORT]}"
    stage.data = {
        str(name): str(digest) for name, digest in mapping(_json(stage.folder / "lineage.json").get("data")).items()
    }
    done = _json(stage.folder / "done.json")
    artifact = mapping(done.get("artifact")) or done
    stage.artifact = stage.artifact or artifact
    details = mapping(stage.artifact.get("details")) or mapping(artifact.get("details"))
    if not stage.scores and details.get("scores"):
        note_scores(stage, details)


def _attempts(events: Sequence[Event]) -> tuple[Attempt, ...]:
    result = []
    for number in sorted({event.attempt for event in events}):
        own = [event for event in events if event.attempt == number]
        status, error = _status(own)
        rewinds = tuple((event.stage, event.step or 0) for event in own if event.name == "rewind")
        how = _HOW[status] + (f": {error}" if error else "")
        result.append(Attempt(number, own[0].time, own[-1].time, how, rewinds))
    return tuple(result)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return mapping(read_json(path, dict[str, Any], cure="restore it or take the file away; the rest is shown"))
