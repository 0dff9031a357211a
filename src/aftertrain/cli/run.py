"""`aftertrain run`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aftertrain.cli.table import echo_safely
from aftertrain.core.errors import Interrupted
from aftertrain.core.ground.wording import counted

if TYPE_CHECKING:
    from aftertrain.launch.crew import Where


@click.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[PATH=VALUE]...")
@click.option("--out", default="runs", show_default=True, metavar="DIR", help="Folder of runs.")
@click.option("--restart", is_flag=True, help="Start every stage anew, whatever is done.")
@click.option(
    "--allow-other-machine",
    is_flag=True,
    help="Resume a half-done stage under other threads, torch or CPU; its bits will differ.",
)
@click.option(
    "--nproc",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes that train together, a GPU or a share of the cores each.",
)
@click.option(
    "--on",
    "where",
    type=click.Choice(["here", "ray"]),
    default="here",
    show_default=True,
    help="Where the processes of --nproc are started: on this machine, or as actors on the Ray cluster at RAY_ADDRESS "
    "(without one, on a cluster of this machine alone).",
)
def run(
    *,
    recipe: str,
    overrides: tuple[str, ...],
    out: str,
    restart: bool,
    allow_other_machine: bool,
    nproc: int | None,
    where: Where,
) -> None:
    """Run RECIPE (a file, or the name of a shipped recipe), or go on where it was stopped.

    Stages that are done under the same settings, code and data are reused, half-done ones resumed. Settings are
    replaced with PATH=VALUE, as in stages.dpo.loss.beta=2. Ctrl-C saves and stops; a second one stops at once.
    """
    if where == "ray" or (nproc is not None and nproc > 1):
        flags = [*(["--restart"] if restart else []), *(["--allow-other-machine"] if allow_other_machine else [])]
        _launch(recipe, overrides, out, flags, nproc or 1, where)
        return
    from aftertrain.api.recipes import load_recipe
    from aftertrain.api.runs import run as run_recipe

    first = os.environ.get("RANK", "0") == "0"
    loaded = load_recipe(recipe, overrides)
    if first:
        stages = counted(len(loaded.recipe.stages), "stage")
        echo_safely(f"{loaded.recipe.name}: loading torch and the components of {stages}")
    try:
        result = run_recipe(loaded, out=out, restart=restart, allow_other_machine=allow_other_machine)
    except Interrupted as error:
        from aftertrain.core.run.launched import PIPE, WHERE

        again = click.get_current_context().command_path
        ranks = os.environ.get("WORLD_SIZE", "1")
        words = [recipe, *overrides, *(["--out", out] if out != "runs" else [])]
        words += ["--nproc", ranks] if PIPE in os.environ else []
        words += ["--on", os.environ[WHERE]] if WHERE in os.environ else []
        raise Interrupted(f"{error}. Go on with: {again} {shlex.join(words)}") from error
    if not first:
        return
    report = result.folder / "report.html"
    echo_safely(f"{report if report.is_file() else result.folder}")


def _launch(  # noqa: PLR0917
    recipe: str, overrides: Sequence[str], out: str, flags: Sequence[str], nproc: int, where: Where
) -> None:
    """Start the ranks, once the recipe is known to be sound: mistakes are told once."""
    from aftertrain.api.recipes import load_recipe
    from aftertrain.launch.crew import launch

    if "RANK" in os.environ:
        raise click.UsageError("--nproc and --on start processes of their own; under torchrun leave them out")
    name = load_recipe(recipe, overrides).recipe.name
    status = launch(["run", "--out", out, *flags, "--", recipe, *overrides], nproc, Path(out) / name, where)
    click.get_current_context().exit(status)
