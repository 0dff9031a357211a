"""Sealed benchmarks in an evaluation: refused without a reason, and what is opened is kept with the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aftertrain.core.events import Warned
from aftertrain.core.ground.openings import Opening, keep_openings, openings
from aftertrain.core.records import PlanItem
from aftertrain.core.stage import StageContext
from aftertrain.plugins.evaluation.suite import ReadyTask

SEALED = (
    "asks questions of the sealed benchmark {!r}, which is for a model that is chosen: say why with unseal: 'reason' "
    "(the command's --unseal); that it was opened stands in the reports of all that descends from this model"
)


def refused(tasks: Sequence[ReadyTask], reason: str | None) -> list[PlanItem]:
    """Tasks that are scored only on purpose, where none is told."""
    if reason is not None:
        return []
    return [PlanItem(f"{t.name}: sealed", SEALED.format(t.sealed), "error") for t in tasks if t.sealed is not None]


def opened(context: StageContext, tasks: Sequence[ReadyTask], reason: str | None) -> list[Opening]:
    """Keep with the model that its sealed tasks are scored; all of its openings."""
    model = context.inputs["model"]
    where = f"{context.folder.parent.parent.name}:{context.name}"
    fresh = [
        Opening(task.sealed, task.name, reason or "", where, f"{model.stage} {model.digest[:12]}")
        for task in tasks
        if task.sealed is not None
    ]
    if model.type == "endpoint":
        if fresh:
            context.emit(Warned("an endpoint keeps no account: that sealed benchmarks were opened stands here"), 1)
        return fresh
    try:
        keep_openings(Path(model.path), fresh)
    except OSError as error:
        message = f"that sealed benchmarks were opened cannot be kept with the model, only here: {error}"
        context.emit(Warned(message), 1)
    return list(dict.fromkeys([*openings(Path(model.path)), *fresh]))
