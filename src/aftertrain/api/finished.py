"""The finished evaluations of a run: their recorded scores, their outputs, and the stage as it was set."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.api.report import find_run
from aftertrain.core.errors import RunError, unknown

if TYPE_CHECKING:
    from aftertrain.core.benchmark.table import Line
    from aftertrain.core.events import Contamination, Health, Missing, ScoreRow, Speed
    from aftertrain.core.run.manifest import Manifest
    from aftertrain.registry.recipe import LoadedRecipe


@dataclass(frozen=True)
class FinishedEvaluation:
    """One stage whose outputs are kept.

    Attributes:
        name: `RUN:STAGE`, as messages call it.
        folder: of its artifact.
        scores: as the run recorded them.
        tasks: as the recipe that ran has them.
        missing: rows of suites that were not scored.
        health: how its replies ended.
        contamination: of its tasks, by the data that made the model.
        run: folder of the run.
    """

    name: str
    stage: str
    folder: Path
    scores: tuple[ScoreRow, ...]
    missing: tuple[Missing, ...]
    health: tuple[Health, ...]
    contamination: tuple[Contamination, ...]
    tasks: tuple[Mapping[str, Any], ...]
    manifest: Manifest
    run: Path

    @property
    def contaminations(self) -> dict[str, Contamination]:
        """By task."""
        return {row.task: row for row in self.contamination}

    def suites(self) -> dict[str, list[Line]]:
        """The table of each suite among its tasks."""
        from aftertrain.core.benchmark.outline import altering
        from aftertrain.core.benchmark.suite import suites_of
        from aftertrain.core.benchmark.table import suite_table

        settings: Any = loaded_manifest(self.manifest).recipe.stages[self.stage].settings
        altered = altering(dict(settings))
        facts = self.scores, self.missing, self.health
        return {
            entry.suite: suite_table(
                entry.chosen, entry.reference, *facts, altered=altered, contamination=self.contamination
            )
            for entry in suites_of(settings.tasks)
        }

    @cached_property
    def speeds(self) -> tuple[Speed, ...]:
        """How fast its tasks were, as the attempt that ended it told; empty where that was not recorded."""
        from aftertrain.core.events import Scores
        from aftertrain.core.events.lines import read_events
        from aftertrain.core.run.folder import RunFolder

        path = RunFolder(self.run).events
        entries = read_events(path) if path.is_file() else []
        told = [e.event.timing for e in entries if e.stage == self.stage and isinstance(e.event, Scores)]
        return next((timing for timing in reversed(told) if timing), ())

    def built(self, overrides: Iterable[str] = ()) -> Any:
        """The stage by the settings that ran, with `path=value` overrides of the recipe.

        Raises:
            RecipeError: the settings do not fit what is installed, or an override is none.
        """
        loaded = loaded_manifest(self.manifest, overrides, run=self.run)
        return loaded.builder.build(loaded.recipe.stages[self.stage])


def finished_evaluations(run: str | os.PathLike[str]) -> list[FinishedEvaluation]:
    """Those of the recipe that a run last had, by its folder or its name under `runs/`; with `:STAGE` that one alone.

    Versions of a stage by other settings, which lie beside it, are not looked at.

    Raises:
        RunError: there is no such run, or it has no finished evaluation (of that name).
    """
    from aftertrain.api.history import history
    from aftertrain.core.run.folder import RunFolder
    from aftertrain.core.stage import Rescores

    path, wanted = split_name(run)
    stages = {stage.name: RunFolder(path).stage(stage.name, stage.hash) for stage in history(path)}
    manifest = manifest_of(path)
    loaded = loaded_manifest(manifest, run=path)
    evaluations = {}
    for stage, use in manifest.recipe["stages"].items():
        done = _done(stages[stage]) if stage in stages else None
        if done is not None and isinstance(loaded.builder.build(loaded.recipe.stages[stage]), Rescores):
            name, tasks = f"{path.name}:{stage}", tuple(use["tasks"])
            evaluations[stage] = FinishedEvaluation(name, stage, *done, tasks, manifest, path)
    if not evaluations:
        raise RunError(f"{path} has no finished evaluation whose outputs could be scored again")
    if wanted and wanted not in evaluations:
        raise RunError(f"{path}: {unknown('finished evaluation', wanted, evaluations)}")
    return [evaluations[wanted]] if wanted else list(evaluations.values())


def finished_evaluation(run: str | os.PathLike[str]) -> FinishedEvaluation:
    """The one that `RUN:STAGE` names, or the only one of a run.

    Raises:
        RunError: there are several, or none.
    """
    there = finished_evaluations(run)
    if len(there) > 1:
        names = ", ".join(evaluation.stage for evaluation in there)
        raise RunError(f"{os.fspath(run)} has several finished evaluations, {names}: name one, as in {there[-1].name}")
    return there[0]


def split_name(run: str | os.PathLike[str]) -> tuple[Path, str]:
    """Folder of a run, by its folder or its name under `runs/`, and the stage behind a colon, "" where none is named.

    Raises:
        RunError: there is no such run.
    """
    name, _, wanted = os.fspath(run).partition(":") if not Path(run).exists() else (os.fspath(run), "", "")
    return find_run(name), wanted


def manifest_of(path: Path) -> Manifest:
    """Of a run's folder.

    Raises:
        RunError: it has none.
    """
    from aftertrain.core.run.folder import RunFolder
    from aftertrain.core.run.manifest import Manifest

    manifest: Manifest = _read(RunFolder(path).manifest, Manifest)
    return manifest


def loaded_manifest(manifest: Manifest, overrides: Iterable[str] = (), *, run: Path | None = None) -> LoadedRecipe:
    """The recipe that a run last had, with `path=value` overrides.

    Args:
        run: its folder, where the rows are wanted that its stages made.

    Raises:
        RecipeError: the settings do not fit what is installed, or an override is none.
    """
    from aftertrain.registry.recipe import loads

    source = Path(manifest.source)
    folder = source.resolve().parent if source.is_file() else None
    loaded = loads(json.dumps(manifest.recipe), overrides, source="the run's recipe", folder=folder)
    if run is not None:
        _find_rows(loaded, run)
    return loaded


def _find_rows(loaded: LoadedRecipe, run: Path) -> None:
    from aftertrain.api.history import history
    from aftertrain.core.records import Artifact
    from aftertrain.core.rows.made import find_rows
    from aftertrain.core.run.done import DONE, Done
    from aftertrain.core.run.folder import RunFolder, read_json

    folders = {stage.name: RunFolder(run).stage(stage.name, stage.hash) for stage in history(run)}

    def artifact(name: str) -> Artifact | None:
        done = read_json(folders[name] / DONE, Done) if name in folders else None
        return None if done is None else replace(done.artifact, path=str(folders[name] / done.artifact.path))

    for use in loaded.recipe.stages.values():
        find_rows(use.settings, artifact)


def _done(
    folder: Path,
) -> tuple[Path, tuple[ScoreRow, ...], tuple[Missing, ...], tuple[Health, ...], tuple[Contamination, ...]] | None:
    """Where outputs lie, and what was found of them; None for a stage that is not finished or has no scores."""
    from aftertrain.core.events import Contamination, Health, Missing, ScoreRow
    from aftertrain.core.ground.reading import typed
    from aftertrain.core.run.done import DONE, Done

    if not (folder / DONE).is_file():
        return None
    artifact = _read(folder / DONE, Done).artifact
    if "scores" not in artifact.details:
        return None
    kinds: dict[str, type[Any]] = {
        "scores": ScoreRow,
        "missing": Missing,
        "health": Health,
        "contamination": Contamination,
    }
    scores, missing, health, contamination = (
        tuple(typed(row, kind, f"{folder / DONE}: {name}") for row in artifact.details.get(name, ()))
        for name, kind in kinds.items()
    )
    return folder / artifact.path, scores, missing, health, contamination


def _read(path: Path, kind: type[Any]) -> Any:
    from aftertrain.core.run.folder import read_json

    content = read_json(path, kind)
    if content is None:
        raise RunError(f"{path.parent} is no run's folder: it has no {path.name}")
    return content
