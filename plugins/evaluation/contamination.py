"""The gate: evaluation items in the data that trained the model, as lineage tells them, over all runs (F6).

Of a base model's own training nothing is known, and the column says so. Rows that a stage made, prompts of online
stages and the replies that they learnt from are data like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aftertrain.core.dataset import BadRow
from aftertrain.core.errors import AftertrainError
from aftertrain.core.eval_task import Instance
from aftertrain.core.events import Contamination
from aftertrain.core.learning.rollouts import RolloutFile, kept_steps
from aftertrain.core.operator import Row
from aftertrain.core.overlap.findings import EvaluationFinding, findings
from aftertrain.core.overlap.index import EvaluationIndex
from aftertrain.core.overlap.items import TrainingRow, training_row
from aftertrain.core.overlap.questions import evaluation_of
from aftertrain.core.overlap.rules import RULES, Rule
from aftertrain.core.overlap.scan import Scan
from aftertrain.core.settings import Builder
from aftertrain.core.stage import Learnt, StageContext
from aftertrain.core.statistics import Interval, mean_interval
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.settings import ContaminationSettings
from aftertrain.plugins.evaluation.suite import ReadyTask
from aftertrain.plugins.evaluation.summary import unjudged

REPLIES = "replies"
"""Source of what a policy wrote and learnt from."""
WRITERS = ("model", "chosen_model", "rejected_model", "teacher")
"""Facts of a row that name the model which wrote it."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of one task.

    Attributes:
        ids: of questions that stand in the training data.
        untestable: of questions that are too short for n-grams: those that were not found are not known to be clean.
    """

    row: Contamination
    ids: frozenset[str] = frozenset()
    untestable: frozenset[str] = frozenset()


def check(settings: ContaminationSettings, tasks: Sequence[ReadyTask], context: StageContext) -> list[Checked]:
    """Look for the questions of all tasks in what the stages learnt from that made the model."""
    if settings.gate == "off":
        return [Checked(Contamination(task.name, len(task.instances), off=settings.reason or "")) for task in tasks]
    known = context.trained_on
    unknown = {name: part.unknown for name, part in known.items() if part.unknown}
    rule, seen = RULES[settings.rule], dict[str, None]()
    if not any(part.data or part.rollouts for part in known.values()):
        told = tuple(f"{name}: {why}" for name, why in unknown.items())
        return [Checked(Contamination(task.name, len(task.instances), unknown=told)) for task in tasks]
    index = EvaluationIndex([evaluation_of(task.name, _bare(task, context.builder)) for task in tasks], rule)
    scan = Scan(index)
    for _ in scan.flagged(_rows(known, rule, seen, unknown)):
        pass
    stages, told = tuple(seen), tuple(f"{name}: {why}" for name, why in unknown.items())
    rows = (_row(finding, rule, stages, told) for finding in findings(scan))
    return [Checked(row, _found(scan, number), _untestable(index, number)) for number, row in enumerate(rows)]


def _bare(task: ReadyTask, builder: Builder) -> Sequence[Instance]:
    """The questions that are scored, without worked examples."""
    if not task.shots:
        return task.instances
    asked = {instance.id for instance in task.instances}
    bare = [instance for instance in task.with_shots(0, builder).task.instances() if instance.id in asked]
    return bare if len(bare) == len(asked) else task.instances


def _rows(
    known: Mapping[str, Learnt], rule: Rule, seen: dict[str, None], unknown: dict[str, str]
) -> Iterator[TrainingRow]:
    """What the stages learnt from, row by row.

    Args:
        seen: told which stages were looked at.
        unknown: told what could not be read, and why.
    """
    for stage, part in known.items():
        try:
            for row in _learnt(part, rule):
                seen[stage] = None
                yield replace(row, source=f"{stage}/{row.source}")
        except AftertrainError as error:
            unknown[stage] = "; ".join(filter(None, (unknown.get(stage), str(error))))


def _learnt(part: Learnt, rule: Rule) -> Iterator[TrainingRow]:
    """The users' turns of data, the replies too where a model wrote them, and the replies of rollouts."""
    for data in part.data:
        for row in data.made_rows():
            if not isinstance(row, BadRow):
                yield _whole(row) if _written(row) else training_row(row.record, rule.roles)
    if part.rollouts is None:
        return
    for step in kept_steps(part.rollouts):
        for sample in RolloutFile(part.rollouts, step).read_samples():
            yield TrainingRow(f"{sample.id} in step {step}", REPLIES, (sample.response,), (0,))


def _written(row: Row) -> bool:
    """Whether a stage had a model write the row or its replies, which then names the model."""
    return any(name.rpartition(".")[2] in WRITERS for name in row.facts)


def _whole(row: Row) -> TrainingRow:
    """All that was said in it, the replies of a pair too."""
    said = [(place, turn.content) for place, turn in enumerate(row.turns) if turn.role != "system" and turn.content]
    return TrainingRow(row.id, row.source, tuple(text for _, text in said), tuple(place for place, _ in said))


def _row(finding: EvaluationFinding, rule: Rule, stages: tuple[str, ...], unknown: tuple[str, ...]) -> Contamination:
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
        unknown=unknown,
    )


def _found(scan: Scan, number: int) -> frozenset[str]:
    numbers, items = scan.index.numbers, scan.index.items
    tables = (*scan.tally.found.values(), *scan.tally.whole.values())
    return frozenset(items[item].id for table in tables for item in table if numbers[item] == number)


def _untestable(index: EvaluationIndex, number: int) -> frozenset[str]:
    short = np.flatnonzero(~index.testable & (index.numbers == number)).tolist()
    return frozenset(index.items[item].id for item in short)


def told(rows: Iterable[Contamination]) -> Iterator[str]:
    """A sentence for each task that contaminates a source."""
    for row in rows:
        if row.sources:
            parts = [f"{row.found:,} of {row.testable:,} testable questions"] if row.found else []
            if row.whole:
                parts.append(f"{row.whole:,} of {row.items - row.testable:,} too short for n-grams, as a whole,")
            yield (
                f"{row.task}: {' and '.join(parts)} stand in the training data ({', '.join(row.sources)}), "
                f"by the rule {row.rule}"
            )


def unseen(rows: Iterable[Contamination]) -> Iterator[str]:
    """A sentence for each stage that made the model and whose data could not be looked at."""
    for why in dict.fromkeys(why for row in rows for why in row.unknown):
        yield f"not all that trained the model could be looked at for these questions: {why}"


def scored(
    checked: Sequence[Checked], tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance]
) -> list[Contamination]:
    """With the main metric over the testable questions that were not found, and over those that were found."""
    values: dict[str, dict[str, list[float]]] = {}
    metrics = {task.name: task.task.metrics[0] for task in tasks}
    temperatures: dict[str, float | None] = {}
    clusters = {(row.task, row.id): row.cluster for row in rows}
    for row in rows:
        if temperatures.setdefault(row.task, row.temperature) == row.temperature and not unjudged(row):
            values.setdefault(row.task, {}).setdefault(row.id, []).append(row.metrics[metrics[row.task]])
    found = []
    for entry in checked:
        by_question = {id_: sum(each) / len(each) for id_, each in values.get(entry.row.task, {}).items()}
        named = {id_: clusters[entry.row.task, id_] for id_ in by_question}
        known = entry.ids | entry.untestable
        clean = _mean({id_: value for id_, value in by_question.items() if id_ not in known}, named)
        other = _mean({id_: value for id_, value in by_question.items() if id_ in entry.ids}, named)
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


def _mean(values: Mapping[str, float], clusters: Mapping[str, str]) -> Interval | None:
    """Of questions by id."""
    return mean_interval(list(values.values()), clusters=[clusters[id_] for id_ in values]) if values else None
