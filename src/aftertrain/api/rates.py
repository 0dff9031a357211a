"""How fast a model reads and writes, as its earlier evaluations measured it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aftertrain.core.errors import AftertrainError

if TYPE_CHECKING:
    from aftertrain.api.finished import FinishedEvaluation
    from aftertrain.core.events import Speed

LATEST = 40
"""Runs that are looked at for one of the model, the newest first."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens a second, and where they are known from.

    Attributes:
        read: of prompts. What several questions share counts for each, as a plan counts it.
        write: of replies; None where none were written.
    """

    read: float
    write: float | None
    source: str

    def minutes(self, read: float, write: float) -> float | None:
        """How long so many tokens take; None where it is not known."""
        if write and self.write is None:
            return None
        return (read / self.read + (write / self.write if self.write else 0.0)) / 60


def measured_rate(run: str | os.PathLike[str]) -> Rate | None:
    """How fast a finished evaluation was; None where it does not tell, as one that took all from the store.

    Raises:
        RunError: there is no finished evaluation, or several.
    """
    from aftertrain.api.finished import finished_evaluation

    return _rate(finished_evaluation(run))


def known_rate(model: str, runs: Path) -> Rate | None:
    """As the latest evaluation of the model under `runs` that tells it; None where there is none.

    Args:
        model: folder, or endpoint.
    """
    from aftertrain.api.finished import finished_evaluations
    from aftertrain.core.run.base_model import is_run

    folders = [folder for folder in runs.iterdir() if is_run(folder)] if runs.is_dir() else []
    folders.sort(key=lambda folder: (folder / "events.jsonl").stat().st_mtime, reverse=True)
    for folder in folders[:LATEST]:
        try:
            for evaluation in finished_evaluations(folder):
                if _model_of(evaluation) == model and (rate := _rate(evaluation)) is not None:
                    return rate
        except AftertrainError:
            continue  # of a plugin that is gone, or not finished: others may tell
    return None


def _model_of(evaluation: FinishedEvaluation) -> str:
    """Folder or endpoint of the model that it scored."""
    from aftertrain.api.finished import loaded_manifest
    from aftertrain.core.ground.endpoint import is_endpoint
    from aftertrain.core.run.base_model import find_model, model_of_run
    from aftertrain.core.stage import BASE

    manifest = evaluation.manifest
    scored = loaded_manifest(manifest).recipe.stages[evaluation.stage].settings.from_  # type: ignore[attr-defined]
    if scored != BASE:
        return str(model_of_run(evaluation.run, scored).resolve())
    model = str(manifest.recipe["model"])
    source = Path(manifest.source)
    base = source.resolve().parent if source.is_file() else Path.cwd()
    return model if is_endpoint(model) else str(find_model(model, base, weights=False).resolve())


def _rate(evaluation: FinishedEvaluation) -> Rate | None:
    """By what it read where nothing is written, and by the time that is left for what is written; else both alike."""
    speeds = [speed for speed in evaluation.speeds if not speed.recalled and speed.seconds > 0]
    if not speeds:
        return None
    readers = [speed for speed in speeds if not speed.written]
    writers = [speed for speed in speeds if speed.written]
    source = f"measured in {evaluation.name}"
    if not writers:
        return Rate(_tokens(readers) / _seconds(readers), None, source)
    if readers:
        read = _tokens(readers) / _seconds(readers)
        left = _seconds(writers) - sum(speed.read for speed in writers) / read
        if left > 0:
            return Rate(read, sum(speed.written for speed in writers) / left, source)
    alike = _tokens(writers) / _seconds(writers)
    return Rate(alike, alike, f"{source}, what is read and what is written alike")


def _tokens(speeds: Iterable[Speed]) -> int:
    return sum(speed.read + speed.written for speed in speeds)


def _seconds(speeds: Sequence[Speed]) -> float:
    return sum(speed.seconds for speed in speeds)
