"""`aftertrain show prompt`: what a task asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aftertrain.cli.batch import echo_shown
from aftertrain.cli.table import echo_safely
from aftertrain.core.ground.wording import counted

if TYPE_CHECKING:
    from aftertrain.api.prompts import Request
    from aftertrain.api.stages import Shown


def show_requests(
    words: Sequence[str], *, data: str | None, model: str | None, out: Path | None, whole: bool, number: int
) -> None:
    """Show the first questions of a task, or write all requests of its split.

    Args:
        words: the task's name and its settings.
    """
    from aftertrain.api.prompts import load_chat, load_task, requests
    from aftertrain.core.ground.cleaning import json_text

    names, overrides = [w for w in words if "=" not in w], [w for w in words if "=" in w]
    if len(names) != 1:
        raise click.UsageError("one TASK is shown: aftertrain show prompt arc_easy formulation=mc --data DIR")
    if whole != (out is not None):
        raise click.UsageError("--all and --out FILE go together")
    name, task = load_task(names[0], overrides, data=data, whole=whole)
    asked = requests(name, task, load_chat(task, model), None if whole else number or None)
    if out is None:
        echo_shown(_shown(asked))
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        written = sum(1 for request in asked if file.write(json_text(asdict(request), verbatim=True) + "\n"))
    echo_safely(f"{out}: {counted(written, 'request')} of {counted(len(task.instances()), 'question')} of {name}")


def _shown(asked: Iterable[Request]) -> Iterator[Shown]:
    """A question and what is scored behind it under one heading; equal contexts in a row stand once."""
    from aftertrain.api.stages import Shown

    for (task, formulation, id_), group in groupby(asked, key=lambda r: (r.task, r.formulation, r.id)):
        parts: list[tuple[str, str]] = []
        context = None
        for request in group:
            parts += [] if request.context == context else [("", request.context)]
            parts += [] if request.continuation is None else [("continuation", request.continuation)]
            context = request.context
        yield Shown(" · ".join(filter(None, (id_, task, formulation))), tuple(parts))
