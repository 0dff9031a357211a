"""`aftertrain show`: finds what its arguments name, and shows it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aftertrain.cli.components import echo_component, echo_listed
from aftertrain.cli.made_rows import show_rows
from aftertrain.cli.prompt import show_requests
from aftertrain.cli.sample import show_sample
from aftertrain.cli.suites import echo_suite_file
from aftertrain.core.errors import RunError, nearest
from aftertrain.core.kinds import KINDS
from aftertrain.registry.discovery import installed

if TYPE_CHECKING:
    from aftertrain.registry.tables import Registration

SEGMENTS, OTHERS = 8, 3
"""Shown unless told otherwise: of a batch, of anything else."""


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="NAME [STAGE] [PATH=VALUE]...")
@click.option("--batch", "view", flag_value="batch", help="The tokens of a training step, and which are learnt.")
@click.option("--rows", "view", flag_value="rows", help="Rows of the stage's data as they are read.")
@click.option("--prompts", "view", flag_value="prompts", help="What the stage gives a model to read.")
@click.option("--samples", "view", flag_value="samples", help="Replies that a run recorded, with their verdicts.")
@click.option("--step", type=int, metavar="N", help="Of a batch, from 1, the first by default; of samples.")
@click.option("-n", "--number", "--segments", "number", type=click.IntRange(0), help="How many to show; 0 shows all.")
@click.option("--ids", is_flag=True, help="Of a batch: one token a line, with its id.")
@click.option("--color/--no-color", default=None, help="Colours, or marks around targets; by default as the output is.")
@click.option("--data", type=click.Path(), help="Of a task: folder of benchmarks in the hub's columns.")
@click.option("--model", help="Of a task: show the tokens that this model reads; needed where a chat template asks.")
@click.option("--all", "whole", is_flag=True, help="Of a task: every request of its whole split; needs --out.")
@click.option("--out", type=click.Path(path_type=Path), help="Of a task: file of JSON lines that --all writes.")
@click.option("--dropped", metavar="OPERATOR", help="Of made rows: those that it left out; or 'source'.")
@click.option("--source", metavar="NAME", help="Of made rows: those of this data set.")
@click.option("--skip", type=click.IntRange(0), default=0, help="Of made rows: begin behind so many.")
def show(  # noqa: PLR0917  click hands over options by name
    words: tuple[str, ...],
    view: str | None,
    step: int | None,
    number: int | None,
    ids: bool,
    color: bool | None,
    data: str | None,
    model: str | None,
    whole: bool,
    out: Path | None,
    dropped: str | None,
    source: str | None,
    skip: int,
) -> None:
    """Show a component, or what goes into a stage of a recipe, or what came out of a run. Loads no weights.

    \b
    aftertrain show dpo                  a component: origin and settings; its kind is found
    aftertrain show verifier gsm8k       where a name has several kinds
    aftertrain show source tulu3/aya     something that a component knows by name
    aftertrain show olmes                a suite: its rows and how they make one number
    aftertrain show RECIPE [STAGE]       what it trains on, token by token; prompts, where it trains on no rows
    aftertrain show RECIPE STAGE --rows  rows of its data as they are read
    aftertrain show RUN [STAGE] --samples
    aftertrain show rows RUN:STAGE       rows that a stage made; --dropped OPERATOR those that it left out, and why
    aftertrain show sample RUN:STAGE ID  a reply's reward as a tree; ID of a problem: its replies over the steps
    aftertrain show prompt TASK [SETTING=VALUE]... [--data DIR] [--all --out FILE]   what a task asks

    RECIPE is a file or the name of a shipped recipe, RUN a run's folder, its name under runs/ or its recipe; STAGE is
    the first that trains on rows unless it is named. Of a batch, tokens that are learnt are bold and green, those that
    are only context dim; without colours the learnt ones stand in ⟦ ⟧.
    """
    if words[0] == "prompt":
        shown = OTHERS if number is None else number
        show_requests(words[1:], data=data, model=model, out=out, whole=whole, number=shown)
        return
    if words[0] == "sample" and len(words) > 1:
        show_sample(words[1:], step)
        return
    if words[0] == "rows" and len(words) > 1:
        shown = OTHERS if number is None else number
        show_rows(words[1:], dropped=dropped, source=source, skip=skip, number=shown)
        return
    if dropped or source or skip:
        raise click.UsageError("--dropped, --source and --skip belong to: aftertrain show rows RUN:STAGE")
    if data or model or whole or out:
        raise click.UsageError("--data, --model, --all and --out belong to: aftertrain show prompt TASK")
    names, overrides = [w for w in words if "=" not in w], [w for w in words if "=" in w]
    if not names:
        raise click.UsageError(f"{words[0]!r} is an override; the NAME of what to show stands before it")
    if view is None and len(names) == 2 and _echoed(names[0], names[1], overrides):
        return
    if len(names) > 2:
        raise click.UsageError(f"one STAGE at a time, not {', '.join(names[1:])}")
    name, stage = names[0], names[1] if len(names) == 2 else None
    if view == "samples":
        _samples(name, stage, step, number)
    elif view is None and stage is None and not overrides and name in installed().suites:
        echo_suite_file(name)
    elif view is None and stage is None and not overrides and (entry := _component(name)):
        echo_component(entry)
    else:
        _recipe(name, stage, overrides, view, step=step, number=number, ids=ids, color=color)


def _echoed(name: str, second: str, overrides: list[str]) -> bool:
    """Whether two names are a kind and its component, or a component and something that it lists; it is then shown."""
    if name in KINDS:
        echo_component(installed().registration(name, second))
        return True
    if not overrides and (lister := _lister(name)):
        echo_listed(lister, second)
        return True
    return False


def _lister(name: str) -> Registration | None:
    """The component of a name, where its settings list things by name; a recipe of that name comes first."""
    from aftertrain.registry.load import load_settings
    from aftertrain.registry.recipe import shipped

    if name in shipped() or Path(name).is_file():
        return None
    entries = [entry for entry in installed().registrations() if entry.covers(name)]
    return entries[0] if len(entries) == 1 and load_settings(entries[0]).listing() else None


def _component(name: str) -> Registration | None:
    """The component of a name; None where it names a recipe.

    Raises:
        UsageError: it names several things, or nothing.
    """
    from aftertrain.registry.recipe import shipped

    registry = installed()
    entries = [entry for entry in registry.registrations() if entry.covers(name)]
    recipes = shipped()
    recipe = name in recipes or Path(name).is_file()
    if len(entries) + recipe > 1:
        offers = [f"  aftertrain show {entry.kind} {name}: {entry.summary}" for entry in entries]
        offers += [f"  aftertrain show {name} --batch: what the recipe {name} trains on"] * recipe
        raise click.UsageError(f"{name!r} is the name of several:\n" + "\n".join(offers))
    if entries or recipe:
        return entries[0] if entries else None
    for kind in KINDS:
        if name in registry.withheld(kind):
            return registry.registration(kind, name)  # raises, with the reason
    if name in KINDS:
        raise click.UsageError(f"{name!r} is a kind: aftertrain list {name} shows its components")
    guess = nearest(name, [*(entry.name for entry in registry.registrations()), *registry.suites, *recipes])
    hint = f" Did you mean {guess!r}?" if guess else ""
    raise click.UsageError(
        f"no component, recipe or file is named {name!r}.{hint} aftertrain list shows all components, "
        "aftertrain list recipe the shipped recipes."
    )


def _recipe(
    recipe: str,
    stage: str | None,
    overrides: list[str],
    view: str | None,
    *,
    step: int | None,
    number: int | None,
    ids: bool,
    color: bool | None,
) -> None:
    from aftertrain.api import stages
    from aftertrain.api.batches import step_batches
    from aftertrain.cli.batch import echo_batches, echo_shown
    from aftertrain.core.stage import TrainsOnRows

    ready = stages.ready_stages(recipe, overrides)
    if stage is None:
        stage = next((name for name, known in ready.items() if isinstance(known.stage, TrainsOnRows)), None)
        if stage is None:
            raise RunError(f"recipe {recipe!r} has no stage that trains on a data set; name one of {', '.join(ready)}")
    chosen = stages.named_stage(ready, stage)
    view = view or ("batch" if isinstance(chosen.stage, TrainsOnRows) else "prompts")
    if view == "batch":
        coloured = sys.stdout.isatty() if color is None else color
        most = SEGMENTS if number is None else number
        echo_batches(step_batches(chosen, 1 if step is None else step), most, ids=ids, coloured=coloured)
    else:
        look = stages.rows if view == "rows" else stages.prompts
        echo_shown(look(chosen, OTHERS if number is None else number))


def _samples(run: str, stage: str | None, step: int | None, number: int | None) -> None:
    from aftertrain.api.recipes import load_recipe
    from aftertrain.api.report import find_run
    from aftertrain.api.stages import samples
    from aftertrain.cli.batch import echo_shown

    name = load_recipe(run).recipe.name if Path(run).is_file() else run
    echo_shown(samples(find_run(name), stage, step, OTHERS if number is None else number))
