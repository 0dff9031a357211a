"""Checking the invariants of a recipe's training stages, from Python and for the command."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import Interrupted, RankLost, RunError
from aftertrain.registry.recipe import LoadedRecipe

if TYPE_CHECKING:
    from aftertrain.api.runs import Overrides
    from aftertrain.core.learning.trial import Trial
    from aftertrain.core.stage import PlanContext, Stage
    from aftertrain.invariants.finding import Finding

SHARE = "AFTERTRAIN_INVARIANTS_SHARE"
"""Environment variable of the ranks that check one step together: the folder for what comes of it."""


@dataclass(frozen=True)
class StageInvariants:
    """What became of the invariants of one training stage.

    Attributes:
        stage: its name.
        about: rows, loss, engine and model, for people.
        findings: one an invariant, in the order of `aftertrain.invariants.finding.INVARIANTS`; empty where the stage
            hands over nothing to check.
    """

    stage: str
    about: str
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """Those that do not hold."""
        return tuple(finding for finding in self.findings if finding.state == "broken")

    def dump(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {"stage": self.stage, "about": self.about, "findings": [finding.dump() for finding in self.findings]}


def check_invariants(
    recipe: str | os.PathLike[str] | LoadedRecipe,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    *,
    stage: str | None = None,
    rows: int | None = None,
    ranks: bool = True,
    on_finding: Callable[[str, str, Finding | None], None] = lambda stage, about, finding: None,
    on_start: Callable[[str], None] = lambda invariant: None,
) -> list[StageInvariants]:
    """Measure that packing, chunks, accumulation, order, ranks, caches and resuming change nothing in a recipe.

    Everything happens on a few rows in a temporary folder; runs are neither read nor written. Every stage starts from
    the recipe's own model, whatever `from` says.

    Args:
        recipe: a file, the name of a shipped recipe, or what `load_recipe` gave (then without ranks).
        stage: its name; None checks every stage that trains.
        rows: conversations or pairs of each stage's data that are tried, the first; None takes 8, or for a large model
            on a CPU as many of the shorter ones as a check of some minutes has time for.
        ranks: start two processes for the invariant `ranks`.
        on_finding: told stage, what it is about and each finding as it comes; None when a stage begins.
        on_start: told each invariant when its check begins.

    Raises:
        UnknownName: there is no such stage.
        RunError: no stage trains.
        AftertrainError: the recipe, its data or its model cannot be used.
    """
    checked = []
    with _scratch() as scratch:
        for name, trial, about in trials(recipe, overrides, stage, rows):
            on_finding(name, about, None)
            folder = scratch / name
            folder.mkdir()
            findings = []
            if trial is not None:
                from aftertrain.invariants.check import check

                together = _together(recipe, overrides, name, rows) if ranks else None
                for finding in check(trial, folder, together=together, on_start=on_start):
                    on_finding(name, about, finding)
                    findings.append(finding)
            checked.append(StageInvariants(name, about, tuple(findings)))
    return checked


def write_share(recipe: str, overrides: Iterable[str], stage: str, rows: int | None) -> None:
    """One rank's part of the invariant `ranks`, in a process that `check_invariants` started."""
    from aftertrain.core.learning.processes import joined
    from aftertrain.core.run.launched import Line
    from aftertrain.invariants.bench import Bench
    from aftertrain.invariants.shares import write_share as write

    Line()
    with joined() as ranks:
        for _, trial, _ in trials(recipe, overrides, stage, rows):
            assert trial is not None
            write(Bench(replace(trial, ranks=ranks), Path(os.environ[SHARE])))


def trials(
    recipe: str | os.PathLike[str] | LoadedRecipe, overrides: Overrides, stage: str | None, rows: int | None
) -> Iterator[tuple[str, Trial | None, str]]:
    from aftertrain.api.stages import named_stage, ready_stages

    ready = ready_stages(recipe, overrides, weights=True)
    chosen = [named_stage(ready, stage)] if stage is not None else [r for r in ready.values() if _trains(r.stage)]
    if not chosen:
        raise RunError(f"the recipe has no stage that trains a model; it has {', '.join(ready)}")
    for tried in chosen:
        trial = _trial(tried.stage, tried.context, rows)
        if trial is None:
            why = (
                "trains no model" if not _trains(tried.stage) else "hands over nothing that could be checked (no trial)"
            )
            yield tried.name, None, f"the stage {tried.use.name!r} {why}"
        else:
            yield tried.name, trial, f"{trial.about}, engine {trial.engine.name}, model {tried.context.model}"


def _trial(stage: Stage[Any], context: PlanContext, rows: int | None) -> Trial | None:
    from aftertrain.core.learning.trial import HasInvariants

    if not isinstance(stage, HasInvariants):
        return None
    if rows is not None:
        return stage.trial(context, rows)
    from aftertrain.invariants.work import POOL, ROWS, lightened

    trial = stage.trial(context, POOL)
    if trial.only is None:
        return stage.trial(context, ROWS)
    return lightened(trial)


def _trains(stage: Any) -> bool:
    return stage.output in ("model", "reward_model")


def _together(
    recipe: str | os.PathLike[str] | LoadedRecipe, overrides: Overrides, stage: str, rows: int | None
) -> Callable[[Path], None]:
    """Runs this very check's `write_share` in two ranks."""
    from aftertrain.invariants.finding import NotChecked
    from aftertrain.invariants.shares import RANKS

    def run(folder: Path) -> None:
        from torch import get_num_threads

        from aftertrain.launch.crew import launch

        if isinstance(recipe, LoadedRecipe):
            raise NotChecked("other processes load a recipe from its file; give check_invariants the file")
        # More threads than cores wait for each other: a step takes ten times as long.
        words = [*as_words(overrides), f"threads={max(1, get_num_threads() // RANKS)}"]
        number = [] if rows is None else ["--rows", str(rows)]
        command = ["check-invariants", "--stage", stage, *number, "--", str(recipe), *words]
        try:
            with environment(SHARE, str(folder)):
                status = launch(command, RANKS, folder)
        except RankLost as error:
            if any(f"killed by {name}" in str(error) for name in ("SIGINT", "SIGTERM")):
                raise KeyboardInterrupt from error
            raise
        if status == Interrupted.exit_code:
            raise KeyboardInterrupt
        if status != 0:
            raise RunError(f"{RANKS} ranks ended with status {status} ({shlex.join(command)})")

    return run


def as_words(overrides: Overrides) -> Sequence[str]:
    if isinstance(overrides, Mapping):
        import json

        return [f"{path}={value if isinstance(value, str) else json.dumps(value)}" for path, value in overrides.items()]
    return list(overrides)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder, also for the tokenised rows that would otherwise be cached for good."""
    with (
        tempfile.TemporaryDirectory(prefix="aftertrain-invariants-") as name,
        environment("AFTERTRAIN_CACHE", str(Path(name) / "cache")),
    ):
        yield Path(name)


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
