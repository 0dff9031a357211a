"""Saved outputs scored anew: no model, and no doubt that what was asked is what would be asked now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.stage import Rescored, SavedReply
from aftertrain.plugins.evaluation import summary
from aftertrain.plugins.evaluation.outputs import asked, output_of, row_of, score_outputs
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.runner import check_metrics
from aftertrain.plugins.evaluation.suite import ReadyTask

AGAIN = "the saved outputs are no answers to that; run the stage again"


@dataclass(frozen=True)
class Pass:
    """Outputs before and after, in one order."""

    tasks: Sequence[ReadyTask]
    before: Sequence[ScoredInstance]
    rows: Sequence[ScoredInstance]

    def told(self) -> Rescored:
        """What changed."""
        pairs = [(old, new) for old, new in zip(self.before, self.rows, strict=True) if _verdict(old) != _verdict(new)]
        changed = summary.by_cell(new for _, new in pairs)
        counts = {cell: (len(rows), len(changed.get(cell, []))) for cell, rows in summary.by_cell(self.rows).items()}
        return Rescored(tuple(summary.scores(self.tasks, self.rows)), counts, tuple(_change(*pair) for pair in pairs))


def rescored(tasks: Sequence[ReadyTask], before: Sequence[ScoredInstance]) -> Pass:
    """Score every saved output by the tasks as they are now.

    Raises:
        DataError: a task, an instance or a temperature was not asked, or is asked in other words.
    """
    after: dict[int, ScoredInstance] = {}
    for task in tasks:
        numbers = [number for number, row in enumerate(before) if row.task == task.name]
        _check_asked(task, [before[number] for number in numbers])
        instances = {instance.id: instance for instance in task.instances}
        answered = [replace(instances[before[n].id], thoughts=before[n].thoughts) for n in numbers]
        outputs = [output_of(task.task, before[number]) for number in numbers]
        scores = score_outputs(task.task, answered, outputs)
        check_metrics(task.name, task.task.metrics, answered, scores)
        for number, instance, output, score in zip(numbers, answered, outputs, scores, strict=True):
            old = before[number]
            row = row_of(task.name, old.temperature, instance, output, score, sample=old.sample, prompt=old.prompt)
            after[number] = replace(row, n_tokens=old.n_tokens, asked=old.asked)
    lost = sorted({row.task for number, row in enumerate(before) if number not in after})
    if lost:
        raise DataError(f"the stage scored {', '.join(lost)}, which these settings do not name; {AGAIN}")
    return Pass(tasks, before, [after[number] for number in range(len(before))])


def replies(tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance]) -> Iterator[SavedReply]:
    """Saved replies, with what the user says in their prompts.

    Raises:
        DataError: a task no longer asks what was answered.
    """
    for task in tasks:
        if not task.generates:
            continue
        answered = [row for row in rows if row.task == task.name]
        _check_asked(task, answered)
        asked = {
            instance.id: "\n".join(message.content for message in instance.messages if message.role == "user")
            for instance in task.instances
        }
        for row in answered:
            question = (row.task, row.id, row.temperature, row.sample)
            yield SavedReply(question, asked[row.id], row.output, row.with_special, row.thoughts)


def _check_asked(task: ReadyTask, rows: Sequence[ScoredInstance]) -> None:
    saved = {(row.id, row.temperature, row.sample) for row in rows}
    wanted = {
        (instance.id, temperature, sample)
        for instance in task.instances
        for temperature in task.temperatures
        for sample in range(task.samples)
    }
    if wanted != saved:
        raise DataError(
            f"task {task.name!r}: {len(wanted - saved):,} of {len(wanted):,} outputs that these settings ask for were "
            f"not made, and {len(saved - wanted):,} were made that they do not ask for; {AGAIN}"
        )
    instances = {instance.id: instance for instance in task.instances}
    sampling = task.sampling if task.generates else None
    for row in rows:
        instance = instances[row.id]
        if row.asked != asked(instance, sampling):
            otherwise = "" if sampling is None else ", or its replies are drawn otherwise,"
            raise DataError(f"task {task.name!r}: instance {row.id!r} is asked in other words{otherwise} now; {AGAIN}")


def _verdict(row: ScoredInstance) -> tuple[Any, ...]:
    return row.metrics, row.extracted, row.outcome, row.parts


def _change(old: ScoredInstance, new: ScoredInstance) -> str:
    """A changed output in one line: which, what was read and what it is worth, before and after."""
    sample = f" reply {new.sample}" if new.sample else ""
    sides = [
        f"{row.extracted!r} {row.outcome} " + ", ".join(f"{name} {value:g}" for name, value in row.metrics.items())
        for row in (old, new)
    ]
    return f"{new.task} {new.id}{sample}: {sides[0]} -> {sides[1]}"
