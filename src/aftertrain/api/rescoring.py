"""Scoring the saved outputs of finished evaluations again, by other settings and without a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.api.report import find_run
from aftertrain.core.errors import RunError, unknown

if TYPE_CHECKING:
    from aftertrain.core.events import ScoreRow
    from aftertrain.core.stage import Rescored
    from aftertrain.registry.recipe import LoadedRecipe


@dataclass(frozen=True)
class RescoredStage:
    """What became of one stage's scores: those that the run recorded, and what its outputs are worth now."""

    stage: str
    before: tuple[ScoreRow, ...]
    now: Rescored


def rescore(
    run: str | os.PathLike[str], settings: Iterable[str] = (), *, out: str | os.PathLike[str] | None = None
) -> Iterator[RescoredStage]:
    """Compute every metric of a run's evaluations again from the saved outputs.

    Args:
        run: a run's folder or its name under `runs/`; with `:STAGE` that stage alone.
        settings: `TASK.SETTING=VALUE` texts, by the names under which the stage keeps its tasks.
        out: a folder for the outputs with their new scores, and `scores.json`, in one folder a stage.

    Raises:
        RunError: the run has no finished evaluation, or no stage or task of that name.
        RecipeError: a setting is unknown or does not fit.
        DataError: the settings change what is asked, so that the saved outputs are no answers.
    """
    from aftertrain.core.run.folder import RunFolder
    from aftertrain.core.run.manifest import Manifest
    from aftertrain.core.stage import Rescores

    name, _, wanted = os.fspath(run).partition(":") if not Path(run).exists() else (os.fspath(run), "", "")
    folder = RunFolder(find_run(name))
    manifest = _read(folder.manifest, Manifest)
    stages = {stage: use for stage, use in manifest.recipe["stages"].items() if _finished(folder, stage)}
    loaded = _loaded(manifest)
    evaluations = [stage for stage in stages if isinstance(loaded.builder.build(loaded.recipe.stages[stage]), Rescores)]
    if wanted and wanted not in evaluations:
        raise RunError(f"{folder.path}: {unknown('finished evaluation', wanted, evaluations)}")
    if not evaluations:
        raise RunError(f"{folder.path} has no finished evaluation whose outputs could be scored again")
    changed = list(settings)
    for stage in [wanted] if wanted else evaluations:
        now = _loaded(manifest, _overrides(stage, stages[stage]["tasks"], changed))
        built = now.builder.build(now.recipe.stages[stage])
        assert isinstance(built, Rescores)
        own = _finished(folder, stage)
        assert own is not None
        place = None if out is None else Path(out) / stage
        result = RescoredStage(stage, own[1], built.rescore(own[0], place))
        if place is not None:
            text = json.dumps([asdict(row) for row in result.now.scores], indent=1)
            (place / "scores.json").write_text(text + "\n", encoding="utf-8")
        yield result


def _loaded(manifest: Any, overrides: Iterable[str] = ()) -> LoadedRecipe:
    from aftertrain.registry.recipe import loads

    source = Path(manifest.source)
    folder = source.resolve().parent if source.is_file() else None
    return loads(json.dumps(manifest.recipe), overrides, source="the run's recipe", folder=folder)


def _overrides(stage: str, tasks: list[Mapping[str, Any]], settings: Iterable[str]) -> list[str]:
    """`gsm8k.shots=4` as the path into the recipe that it stands for."""
    names = [str(task.get("name") or task["use"]) for task in tasks]
    paths = []
    for text in settings:
        path, equals, value = text.partition("=")
        task = max((name for name in names if path.startswith(f"{name}.")), key=len, default=None)
        if not equals or task is None:
            raise RunError(
                f"{text!r}: settings are TASK.SETTING=VALUE, and stage {stage!r} has the tasks {', '.join(names)}"
            )
        paths.append(f"stages.{stage}.tasks.{names.index(task)}.{path[len(task) + 1 :]}={value}")
    return paths


def _finished(folder: Any, stage: str) -> tuple[Path, tuple[ScoreRow, ...]] | None:
    """Where the stage's newest finished version lies, and the scores that it recorded; None where none is finished."""
    from aftertrain.core.events import ScoreRow
    from aftertrain.core.ground.reading import typed
    from aftertrain.core.run.done import DONE, Done

    for version in reversed(folder.versions(stage)):
        if (version / DONE).is_file():
            done = _read(version / DONE, Done)
            rows = done.artifact.details.get("scores", [])
            scores = tuple(typed(row, ScoreRow, f"{version / DONE}: scores") for row in rows)
            return version / done.artifact.path, scores
    return None


def _read(path: Path, kind: type[Any]) -> Any:
    from aftertrain.core.run.folder import read_json

    content = read_json(path, kind)
    if content is None:
        raise RunError(f"{path.parent} is no run's folder: it has no {path.name}")
    return content
