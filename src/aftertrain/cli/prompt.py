"""`aftertrain show prompt`: what a task asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aftertrain.cli.batch import echo_shown
from aftertrain.cli.table import echo_safely
from aftertrain.core.ground.cleaning import visible
from aftertrain.core.ground.wording import counted

if TYPE_CHECKING:
    from aftertrain.core.eval_task import EvalTask

COLOURS = ("green", "yellow")
"""Of tokens, in turn, so that each is told from the next."""


def show_requests(
    words: Sequence[str], *, data: str | None, model: str | None, out: Path | None, whole: bool, number: int
) -> None:
    """Show the first questions of a task, or write all requests of its split.

    Args:
        words: the task's name and its settings.
    """
    from aftertrain.api.prompts import load_chat, load_task, requests
    from aftertrain.api.stages import shown
    from aftertrain.core.ground.cleaning import json_text

    names, overrides = [w for w in words if "=" not in w], [w for w in words if "=" in w]
    if len(names) != 1:
        raise click.UsageError("one TASK is shown: aftertrain show prompt arc_easy formulation=mc --data DIR")
    if whole != (out is not None):
        raise click.UsageError("--all and --out FILE go together")
    name, task = load_task(names[0], overrides, data=data, whole=whole)
    if out is None and model is not None:
        _echo_tokens(name, task, model, number or None)
        return
    asked = requests(name, task, load_chat(task, model), None if whole else number or None)
    if out is None:
        echo_shown(shown(asked))
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        written = sum(1 for request in asked if file.write(json_text(asdict(request), verbatim=True) + "\n"))
    echo_safely(f"{out}: {counted(written, 'request')} of {counted(len(task.instances()), 'question')} of {name}")


def _echo_tokens(name: str, task: EvalTask[Any], model: str, number: int | None) -> None:
    """Print what a model reads, token by token: two colours in turn, special tokens in a third, what is scored
    underlined."""
    from aftertrain.api.prompts import seen, token_texts
    from aftertrain.core.run.base_model import find_model
    from aftertrain.core.text.chat import load_tokenizer

    chat = any(instance.chat for instance in task.instances())
    folder = str(find_model(model, Path.cwd(), weights=False))
    tokenizer = load_tokenizer(folder, None, needs_template=chat)
    special = frozenset(tokenizer.all_special_ids)
    for request in seen(name, task, tokenizer, number):
        ids, given = request.token_ids, request.n_context
        count = counted(len(ids), "token") + ("" if given is None else f", {len(ids) - given} of them scored")
        click.secho(f"{f'── {visible(request.name)} · {count} ':─<78}", fg="cyan")
        for place, (token, text) in enumerate(zip(ids, token_texts(tokenizer, ids), strict=True)):
            colour = "magenta" if token in special else COLOURS[place % len(COLOURS)]
            click.secho(visible(text), fg=colour, underline=given is not None and place >= given, nl=False)
        click.echo()
