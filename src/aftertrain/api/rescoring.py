"""Scoring the saved outputs of finished evaluations again, by other settings and without a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.api.finished import FinishedEvaluation, finished_evaluations
from aftertrain.core.errors import RunError

if TYPE_CHECKING:
    from aftertrain.core.events import ScoreRow
    from aftertrain.core.stage import Rescored


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
    changed = list(settings)
    for evaluation in finished_evaluations(run):
        place = None if out is None else Path(out) / evaluation.stage
        now = evaluation.built(_overrides(evaluation, changed)).rescore(evaluation.folder, place)
        if place is not None:
            text = json.dumps([asdict(row) for row in now.scores], indent=1)
            (place / "scores.json").write_text(text + "\n", encoding="utf-8")
        yield RescoredStage(evaluation.stage, evaluation.scores, now)


def _overrides(evaluation: FinishedEvaluation, settings: Iterable[str]) -> list[str]:
    """`gsm8k.shots=4` as the path into the recipe that it stands for."""
    places = _places(evaluation.tasks)
    paths = []
    for text in settings:
        path, equals, value = text.partition("=")
        task = max((name for name in places if path.startswith(f"{name}.")), key=len, default=None)
        if not equals or task is None:
            raise RunError(
                f"{text!r}: settings are TASK.SETTING=VALUE, and stage {evaluation.stage!r} has the tasks "
                f"{', '.join(places)}"
            )
        paths.append(f"stages.{evaluation.stage}.tasks.{places[task]}.{path[len(task) + 1 :]}={value}")
    return paths


def _places(tasks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Where each task's settings stand among a stage's tasks, by the name under which its scores are kept."""
    places: dict[str, str] = {}
    for number, task in enumerate(tasks):
        if "suite" not in task:
            places[str(task.get("name") or task["use"])] = str(number)
            continue
        for row, entry in task["definition"]["rows"].items():
            places |= {name: f"{number}.definition.rows.{row}.tasks.{name}" for name in entry["tasks"]}
    return places
