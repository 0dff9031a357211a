"""The gate: evaluation items in the data that trained the model, as lineage tells them (F6).

Of a base model's own training nothing is known, and the column says so. Rows that a stage made, and prompts of online
stages, are data like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from aftertrain.core.dataset import BadRow
from aftertrain.core.eval_task import Instance
from aftertrain.core.events import Contamination
from aftertrain.core.overlap.findings import EvaluationFinding, findings
from aftertrain.core.overlap.index import EvaluationIndex
from aftertrain.core.overlap.items import TrainingRow, training_row
from aftertrain.core.overlap.questions import evaluation_of
from aftertrain.core.overlap.rules import RULES, Rule
from aftertrain.core.overlap.scan import Scan
from aftertrain.core.settings import Builder
from aftertrain.core.stage import StageContext
from aftertrain.core.statistics import Interval, mean_interval
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.settings import ContaminationSettings
from aftertrain.plugins.evaluation.suite import ReadyTask


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of one task.

    Attributes:
        ids: of questions that stand in the training data.
    """

    row: Contamination
    ids: frozenset[str] = frozenset()


def check(settings: ContaminationSettings, tasks: Sequence[ReadyTask], context: StageContext) -> list[Checked]:
    """Look for the questions of all tasks in the data of the stages that made the model."""
    if settings.gate == "off":
        return [Checked(Contamination(task.name, len(task.instances), off=settings.reason or "")) for task in tasks]
    if not context.trained_on:
        return [Checked(Contamination(task.name, len(task.instances))) for task in tasks]
    rule = RULES[settings.rule]
    index = EvaluationIndex([evaluation_of(task.name, _bare(task, context.builder)) for task in tasks], rule)
    scan = Scan(index)
    for _ in scan.flagged(_rows(context, rule)):
        pass
    stages = tuple(context.trained_on)
    return [Checked(_row(finding, rule, stages), _found(scan, number)) for number, finding in enumerate(findings(scan))]


def _bare(task: ReadyTask, builder: Builder) -> Sequence[Instance]:
    """The questions that are scored, without worked examples."""
    if not task.shots:
        return task.instances
    asked = {instance.id for instance in task.instances}
    bare = [instance for instance in task.with_shots(0, builder).task.instances() if instance.id in asked]
    return bare if len(bare) == len(asked) else task.instances


def _rows(context: StageContext, rule: Rule) -> Iterator[TrainingRow]:
    for stage, uses in context.trained_on.items():
        for use in uses:
            for record in context.builder.build(use).entries():
                if not isinstance(record, BadRow):
                    row = training_row(record, rule.roles)
                    yield replace(row, source=f"{stage}/{row.source}")


def _row(finding: EvaluationFinding, rule: Rule, stages: tuple[str, ...]) -> Contamination:
    return Contamination(
        finding.name,
        finding.items,
        testable=finding.testable,
        found=finding.found,
        whole=finding.whole,
        covered=finding.contamination,
        rule=rule.name,
        stages=stages,
        sources=tuple(source.source for source in finding.sources if source.contaminated),
    )


def _found(scan: Scan, number: int) -> frozenset[str]:
    numbers, items = scan.index.numbers, scan.index.items
    tables = (*scan.tally.found.values(), *scan.tally.whole.values())
    return frozenset(items[item].id for table in tables for item in table if numbers[item] == number)


def told(rows: Iterable[Contamination]) -> Iterator[str]:
    """A sentence for each task that contaminates a source."""
    for row in rows:
        if row.sources:
            yield (
                f"{row.task}: {row.found:,} of {row.testable:,} testable questions stand in the training data "
                f"({', '.join(row.sources)}), by the rule {row.rule}"
            )


def scored(
    checked: Sequence[Checked], tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance]
) -> list[Contamination]:
    """With the main metric over the questions that were not found, and over those that were."""
    values: dict[str, dict[str, list[float]]] = {}
    metrics = {task.name: task.task.metrics[0] for task in tasks}
    temperatures: dict[str, float] = {}
    for row in rows:
        if temperatures.setdefault(row.task, row.temperature) == row.temperature:
            values.setdefault(row.task, {}).setdefault(row.id, []).append(row.metrics[metrics[row.task]])
    found = []
    for entry in checked:
        by_question = {id_: sum(each) / len(each) for id_, each in values.get(entry.row.task, {}).items()}
        clean = _mean([value for id_, value in by_question.items() if id_ not in entry.ids])
        other = _mean([value for id_, value in by_question.items() if id_ in entry.ids])
        found.append(
            replace(
                entry.row,
                metric=metrics.get(entry.row.task, ""),
                clean=() if clean is None else (clean.mean, clean.low, clean.high, clean.n),
                contaminated=() if other is None else (other.mean, other.low, other.high, other.n),
            )
            if entry.ids
            else entry.row
        )
    return found


def _mean(values: Sequence[float]) -> Interval | None:
    return mean_interval(values) if values else None
