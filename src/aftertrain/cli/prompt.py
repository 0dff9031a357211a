"""`aftertrain show prompt`: what a task asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from aftertrain.cli.batch import echo_shown
from aftertrain.cli.table import echo_safely
from aftertrain.core.ground.wording import counted


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
    asked = requests(name, task, load_chat(task, model), None if whole else number or None)
    if out is None:
        echo_shown(shown(asked))
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        written = sum(1 for request in asked if file.write(json_text(asdict(request), verbatim=True) + "\n"))
    echo_safely(f"{out}: {counted(written, 'request')} of {counted(len(task.instances()), 'question')} of {name}")
