"""Reading a run folder: `read_run` turns its files into `facts.Run`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from aftertrain.core import events
from aftertrain.core.errors import RunError
from aftertrain.core.events.lines import event_of, read_events
from aftertrain.core.ground.reading import read_json
from aftertrain.core.run.done import DONE, Done
from aftertrain.core.run.folder import RunFolder
from aftertrain.core.run.lineage import Recorded
from aftertrain.core.run.manifest import Manifest
from aftertrain.plugins.report.facts import Attempt, Run, RunStatus, Stage
from aftertrain.plugins.report.intake import mapping, note_event, note_scores, parents

T = TypeVar("T")
_HOW = {
    "finished": "finished",
    "failed": "failed",
    "interrupted": "stopped by the user",
    "unfinished": "no end recorded: killed, or still running",
}


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
    entries = read_events(path)
    if not entries:
        raise RunError(f"{path}: holds no events, so there is nothing to report. Start the run: aftertrain run RECIPE")
    manifest = _read(folder / "manifest.json", Manifest) or Manifest(order=())
    started = next((entry.event for entry in reversed(entries) if isinstance(entry.event, events.RunStarted)), None)
    recipe = manifest.recipe or dict(started.recipe if started else {})
    last = max(entry.attempt for entry in entries)
    status, error = _status([entry for entry in entries if entry.attempt == last])
    order = manifest.order or (started.order if started else ())
    return Run(
        folder=folder,
        name=str(recipe.get("name") or (started and started.name) or manifest.name or folder.resolve().name),
        status=status,
        error=error,
        manifest=manifest,
        recipe=recipe,
        started=started,
        others=tuple(entry for entry in entries if isinstance(entry.event, events.Other)),
        stages=_stages(folder, entries, mapping(recipe.get("stages")), order),
        attempts=_attempts(entries),
        warnings=tuple(e.event.message for e in entries if isinstance(e.event, events.Warned) and not e.stage),
    )


def _status(entries: Sequence[events.Entry]) -> tuple[RunStatus, str]:
    """How an attempt ended, from its events."""
    for entry in reversed(entries):
        match entry.event:
            case events.RunDone():
                return "finished", ""
            case events.RunFailed(error=error, interrupted=interrupted):
                return "interrupted" if interrupted else "failed", error
    return "unfinished", ""


def _stages(
    folder: Path, entries: Iterable[events.Entry], settings: dict[str, Any], order: Sequence[str]
) -> tuple[Stage, ...]:
    """Stages in the order of the run; those of an older recipe that is no longer in it are left out."""
    stages: dict[str, Stage] = {}
    for entry in entries:
        if entry.stage:
            stage = stages.setdefault(entry.stage, Stage(entry.stage))
            note_event(stage, entry)
        elif isinstance(entry.event, events.RunFailed):
            stopped = stages.get(entry.event.at)
            if stopped is not None and stopped.status == "unfinished":
                stopped.status = "interrupted" if entry.event.interrupted else "failed"
    for name, stage_settings in settings.items():
        stage = stages.setdefault(name, Stage(name))
        stage.settings = mapping(stage_settings)
    places = {name: place for place, name in enumerate([*order, *settings])}
    known = [stage for stage in stages.values() if not settings or stage.name in settings]
    for stage in known:
        _complete(stage, folder)
    return tuple(sorted(known, key=lambda stage: places.get(stage.name, len(places))))


def _complete(stage: Stage, folder: Path) -> None:
    """Add what the stage's folder knows and the entries did not say."""
    stage.use = stage.use or str(stage.settings.get("use", ""))
    if not stage.parents and stage.settings:
        roles = {"model": stage.settings.get("from", "base"), "critic": stage.settings.get("critic")}
        stage.parents = parents({role: name for role, name in roles.items() if isinstance(name, str)})
    stage.folder = RunFolder(folder).stage(stage.name, stage.hash)
    lineage = _read(stage.folder / "lineage.json", Recorded)
    stage.data = dict(lineage.data) if lineage else {}
    if stage.artifact is None and (done := _read(stage.folder / DONE, Done)):
        stage.artifact = done.artifact
    if not stage.scores and stage.artifact is not None and stage.artifact.type == "scores":
        scores = event_of(events.Scores, stage.artifact.details)
        if isinstance(scores, events.Scores):
            note_scores(stage, scores)


def _attempts(entries: Sequence[events.Entry]) -> tuple[Attempt, ...]:
    attempts = []
    for number in sorted({entry.attempt for entry in entries}):
        own = [entry for entry in entries if entry.attempt == number]
        status, error = _status(own)
        rewinds = tuple((entry.stage, entry.step or 0) for entry in own if isinstance(entry.event, events.Rewind))
        how = _HOW[status] + (f": {error}" if error else "")
        attempts.append(Attempt(number, own[0].time, own[-1].time, how, rewinds))
    return tuple(attempts)


def _read(path: Path, kind: type[T]) -> T | None:
    if not path.is_file():
        return None
    return read_json(path, kind, cure="restore it or take the file away; the rest is shown")
