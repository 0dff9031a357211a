"""Running and planning recipes from Python, with the same errors as the commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.registry.recipe import LoadedRecipe, load

if TYPE_CHECKING:
    from aftertrain.api.plan import PlanReport
    from aftertrain.core.run.job import Job, RunResult
    from aftertrain.core.stage import Learnt

Overrides = Iterable[str] | Mapping[str, Any]


def run(
    recipe: str | os.PathLike[str] | LoadedRecipe,
    overrides: Overrides = (),
    *,
    out: str | os.PathLike[str] = "runs",
    restart: bool = False,
    allow_other_machine: bool = False,
    console: bool = True,
) -> RunResult:
    """Run a recipe, or go on where it was stopped: what is done is reused, what is half done is resumed.

    Args:
        recipe: a file, the name of a shipped recipe, or what `load_recipe` gave.
        overrides: `"stages.dpo.loss.beta=2"` texts, or a mapping of such paths to values (not with a loaded recipe).
        out: folder of runs; this one is `<out>/<recipe's name>`.
        restart: start every stage anew.
        allow_other_machine: resume under other threads, torch or CPU, at the cost of other bits.
        console: show progress on standard output.

    Raises:
        RecipeError: mistakes in the recipe, all at once; nothing has been written.
        Interrupted: Ctrl-C; the same call goes on from there.
        AftertrainError: anything else a user can mend. A defect keeps its own type.
    """
    from aftertrain.core.run.runner import run_job

    job = make_job(recipe, overrides, out, restart=restart, other_machine=allow_other_machine, console=console)
    return run_job(job)


def plan(
    recipe: str | os.PathLike[str] | LoadedRecipe,
    overrides: Overrides = (),
    *,
    out: str | os.PathLike[str] = "runs",
    restart: bool = False,
    told: Callable[[str, str], None] = lambda stage, words: None,
) -> PlanReport:
    """What `run` would do, with every check that needs no weights; nothing is written.

    Args:
        told: told how far a long look at a stage's data has come, as `told("sft", "100,000 rows read")`.

    Raises:
        RecipeError: mistakes in the recipe, all at once.
    """
    from aftertrain.api.plan import plan_job

    return plan_job(make_job(recipe, overrides, out, restart=restart), told)


def make_job(
    recipe: str | os.PathLike[str] | LoadedRecipe,
    overrides: Overrides = (),
    out: str | os.PathLike[str] = "runs",
    *,
    restart: bool = False,
    other_machine: bool = False,
    console: bool = False,
) -> Job:
    """A recipe with all that runs or plans it: its components' builder, its observers, its folder."""
    from aftertrain.core.run.job import Job
    from aftertrain.registry.provenance import provenance
    from aftertrain.registry.resolve import SettingsResolver

    loaded = recipe if isinstance(recipe, LoadedRecipe) else load(recipe, overrides)
    if loaded is recipe and overrides:
        raise ValueError("overrides belong to load_recipe when the recipe is loaded already")
    builder = loaded.builder
    observers = [builder.build(use) for use in loaded.recipe.observers]
    there = {entry.name for entry in loaded.registry.registrations("observer")}
    if console and "console" in there and not any(use.name == "console" for use in loaded.recipe.observers):
        use = SettingsResolver(loaded.registry, loaded.folder).resolve("observer", {"use": "console"})
        observers.insert(0, builder.build(use))
    return Job(
        recipe=loaded.recipe,
        builder=builder,
        folder=Path(out) / loaded.recipe.name,
        base_folder=loaded.folder,
        source=loaded.source,
        plugins=provenance(loaded.registry),
        observers=observers,
        locate=loaded.locate,
        restart=restart,
        other_machine=other_machine,
        elsewhere=_elsewhere,
        on_stop=_say_stopping if console else lambda: None,
    )


def _elsewhere(model: Path) -> dict[str, Learnt]:
    from aftertrain.api.ancestors import learnt_elsewhere

    return learnt_elsewhere(model)


def _say_stopping() -> None:
    """Answer the first Ctrl-C. Unbuffered: a signal handler may have interrupted a write to the buffered stream."""
    os.write(2, b"\nstopping after this step, with a checkpoint; once more stops at once\n")
