"""What is to be run, and what a run leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aftertrain.core.events import LoadedPlugin
from aftertrain.core.recipe import Recipe
from aftertrain.core.records import Artifact
from aftertrain.core.run.graph import Locate
from aftertrain.core.settings import Builder
from aftertrain.core.stage import Learnt


@dataclass(frozen=True)
class Job:
    """What to run, how and where.

    Attributes:
        folder: the run's folder, `runs/<name>`.
        base_folder: what relative model folders are relative to (the recipe's).
        source: where the recipe came from, for the manifest.
        plugins: those that are loaded, for the manifest.
        restart: start every stage anew, whatever there is.
        other_machine: resume a half-done stage though threads, torch or CPU differ from those it was begun with.
        elsewhere: what trained a model that another run made, by `RUN:STAGE`; empty where no run is known to have.
        on_stop: called in the signal handler when the user first asks to stop.
    """

    recipe: Recipe
    builder: Builder
    folder: Path
    base_folder: Path
    source: str = ""
    plugins: Sequence[LoadedPlugin] = ()
    observers: Sequence[object] = ()
    locate: Locate = lambda path: "recipe"
    restart: bool = False
    other_machine: bool = False
    elsewhere: Callable[[Path], dict[str, Learnt]] = lambda folder: {}
    on_stop: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class RunResult:
    """What a run leaves.

    Attributes:
        folder: the run's folder.
        artifacts: the base model under `base`, and what each stage made, in the order they ran.
        reused: names of the stages that were done already.
    """

    folder: Path
    artifacts: Mapping[str, Artifact]
    reused: tuple[str, ...] = ()

    @property
    def scores(self) -> dict[str, list[dict[str, Any]]]:
        """Scores of each evaluation stage: task, metric, temperature, mean, interval (see the event `scores`)."""
        scores = {name: artifact.details.get("scores") for name, artifact in self.artifacts.items()}
        return {name: rows for name, rows in scores.items() if rows is not None}
