"""Fewer worked examples where a model's context is too short for all of them, if the recipe asks for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from aftertrain.core.settings import Builder
from aftertrain.plugins.evaluation.outputs import asked
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.suite import ReadyTask


def with_fewer(task: ReadyTask, builder: Builder, fits: Callable[[ReadyTask], bool]) -> ReadyTask | None:
    """The task with as many examples as fit; None where it has none to take away, or is too long without any."""
    return next((fewer for fewer in _fewer(task, builder) if fits(fewer)), None)


def as_saved(task: ReadyTask, builder: Builder, rows: Sequence[ScoredInstance]) -> ReadyTask:
    """The task with as many examples as its saved outputs were asked with; itself where no number gives these."""
    row = next((row for row in rows if row.task == task.name), None)
    if row is None or _asks(task, row):
        return task
    return next((fewer for fewer in _fewer(task, builder) if _asks(fewer, row)), task)


def _fewer(task: ReadyTask, builder: Builder) -> Iterator[ReadyTask]:
    """The task with one example less, and less, down to none."""
    for shots in range(task.shots - 1, -1, -1):
        yield task.with_shots(shots, builder)


def _asks(task: ReadyTask, row: ScoredInstance) -> bool:
    sampling = task.sampling if task.generates else None
    return any(instance.id == row.id and asked(instance, sampling) == row.asked for instance in task.instances)
