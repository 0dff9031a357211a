"""Suites in the report: their tables over all evaluations, lines from stage to stage, and heat maps of categories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from aftertrain.core.benchmark.outline import SuiteOutline, altering
from aftertrain.core.benchmark.table import SAME_ROWS, Line, remarks, suite_table
from aftertrain.core.errors import RunError
from aftertrain.core.events import Contamination
from aftertrain.core.ground.reading import typed
from aftertrain.core.ground.wording import identity, sides_text
from aftertrain.plugins.report.facts import Run, Score, Stage
from aftertrain.plugins.report.instances import Instances, Reply
from aftertrain.plugins.report.numbers import count, number, percent
from aftertrain.plugins.report.outcome import model_of

MISSING, NONE = "missing", "–"
NO_SCORE = (MISSING, NONE)
NOT_ALIKE = "not comparable"
FEWEST_GROUPS, MOST_GROUPS = 2, 80
HEATS = 10
WIDTH, HEIGHT, MARGIN = 120.0, 26.0, 4.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One score of the table, written.

    Attributes:
        note: which formulation counted, or why there is no score.
        standing: to the published score.
    """

    text: str
    interval: str = ""
    note: str = ""
    standing: str = ""


@dataclass(frozen=True, slots=True)
class SuiteRowCells:
    """One line over all evaluations.

    Attributes:
        published: score of the model that is compared with, written.
        contamination: of its questions by the data that made each model; said once where it is the same.
        identity: of what was asked and how it was scored; of several they stand in the order of the evaluations, and
            the scores may not be compared.
        path: points of a line from evaluation to evaluation; empty for fewer than two scores that may be compared.
    """

    name: str
    depth: int
    cells: tuple[Cell, ...]
    of: str
    published: str
    contamination: str
    identity: str
    path: str


@dataclass(frozen=True, slots=True)
class SuiteTable:
    """A suite over the evaluations that scored it.

    Attributes:
        reference: model of the published scores, and where they stand; "" where none is asked for.
    """

    name: str
    stages: tuple[str, ...]
    reference: str
    rows: tuple[SuiteRowCells, ...]


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One category: how many questions it has, and each evaluation's mean with a shade of 0 to 9."""

    group: str
    n: str
    cells: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A figure of one task by category, or by the parts of its replies (`by`)."""

    task: str
    by: str
    metric: str
    stages: tuple[str, ...]
    rows: tuple[HeatRow, ...]


def suite_tables(run: Run) -> list[SuiteTable]:
    """A table for each suite that a stage scored, in the order of the stages."""
    found: dict[str, list[tuple[str, list[Line], str]]] = {}
    for stage in run.stages:
        for name, suite, reference in _suites(stage):
            if stage.scores:
                facts = stage.scores, stage.missing, stage.health
                lines = suite_table(
                    suite, reference, *facts, altered=altering(stage.settings), contamination=stage.contamination
                )
                found.setdefault(name, []).append((stage.name, lines, reference or ""))
    return [_table(name, columns) for name, columns in found.items()]


def suite_sentence(run: Run, tables: Sequence[SuiteTable]) -> str:
    """What the first suite's own number is for each model, over how many of its rows; "" where there is none."""
    if not tables or not tables[0].rows or not tables[0].rows[0].of.endswith(" rows"):
        return ""
    row, stages = tables[0].rows[0], tables[0].stages
    scores = [
        f"{model_of(run, stage)} has {cell.text}" + (f" ({cell.interval})" if cell.interval else "")
        if cell.text not in NO_SCORE
        else f"{model_of(run, stage)} has no score"
        for stage, cell in zip(stages, row.cells, strict=True)
    ]
    return f"On the suite {tables[0].name} ({row.of}): {', '.join(scores)}."


def _suites(stage: Stage) -> list[tuple[str, SuiteOutline, str | None]]:
    tasks = stage.settings.get("tasks")
    entries = [task for task in tasks if isinstance(task, Mapping)] if isinstance(tasks, Sequence) else []
    found = []
    for entry in entries:
        if isinstance(entry.get("definition"), Mapping):
            where = f"recipe of the run: stage {stage.name!r}: suite {entry.get('suite')!r}"
            outline: SuiteOutline = typed(dict(entry["definition"]), SuiteOutline, where, error=RunError)
            found.append((str(entry.get("suite")), outline, entry.get("reference")))
    return found


def _table(name: str, columns: Sequence[tuple[str, list[Line], str]]) -> SuiteTable:
    keys = list(dict.fromkeys((line.name, line.depth) for _, lines, _ in columns for line in lines))
    by_key = [{(line.name, line.depth): line for line in lines} for _, lines, _ in columns]
    stages = [stage for stage, _, _ in columns]
    rows = [_row(key, stages, [lines.get(key) for lines in by_key]) for key in keys]
    tables = {line.source for _, lines, _ in columns for line in lines if line.reference is not None}
    tables -= {"", SAME_ROWS}
    models = dict.fromkeys(reference for _, _, reference in columns if reference)
    reference = " and ".join(models) + (f" ({'; '.join(sorted(tables))})" if tables else "")
    return SuiteTable(name, tuple(stages), reference, tuple(rows))


def _row(key: tuple[str, int], stages: Sequence[str], lines: Sequence[Line | None]) -> SuiteRowCells:
    there = [line for line in lines if line is not None]
    last = there[-1]
    of = f"{last.of[0]} of {last.of[1]} rows" if last.of else _questions(last)
    compared = next((line for line in there if line.reference is not None), None)
    published = "" if compared is None else _write(compared, compared.reference)
    published += f" {SAME_ROWS}" if compared is not None and compared.table == SAME_ROWS else ""
    contamination = sides_text(stages, ["" if line is None else line.contamination for line in lines])
    prints = {(line.task, line.fingerprint) for line in there if line.fingerprint}
    alike = len({task for task, _ in prints}) == len(prints)
    shown = " ".join(dict.fromkeys(identity(line.fingerprint) for line in there if line.fingerprint))
    path = _path(lines) if alike else ""
    told = shown if alike else f"{NOT_ALIKE}: {shown}"
    return SuiteRowCells(key[0], key[1], tuple(map(_cell, lines)), of, published, contamination, told, path)


def _questions(line: Line) -> str:
    if line.n is None:
        return ""
    some = line.asked is not None and line.asked != line.n
    return f"n = {count(line.n)} of {count(line.asked or 0)}" if some else f"n = {count(line.n)}"


def _cell(line: Line | None) -> Cell:
    if line is None:
        return Cell(NONE)
    if line.value is None:
        return Cell(MISSING, note=line.missing)
    interval = f"{_write(line, line.low)} to {_write(line, line.high)}" if line.low is not None else ""
    named = (("clean", line.clean), ("contaminated", line.contaminated)) if line.contaminated is not None else ()
    parts = [f"{_write(line, value)} on {word} questions" for word, value in named if value is not None]
    note = ", ".join(filter(None, (line.task, line.metric, *remarks(line), *parts)))
    return Cell(_write(line, line.value), interval, note, line.standing or "")


def _write(line: Line, value: float | None) -> str:
    if value is None:
        return ""
    return percent(value) if line.share else number(value)


def _path(lines: Sequence[Line | None]) -> str:
    """Points of a small line chart, on the scale of the row's own scores."""
    values = [None if line is None else line.value for line in lines]
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    step = (WIDTH - 2 * MARGIN) / (len(values) - 1)
    span = (high - low) or 1.0
    points = [
        f"{MARGIN + place * step:.1f},{HEIGHT - MARGIN - (value - low) / span * (HEIGHT - 2 * MARGIN):.1f}"
        for place, value in enumerate(values)
        if value is not None
    ]
    return " ".join(points)


def parts_of(stage: Stage, row: Contamination) -> list[tuple[str, str]]:
    """The main metric over the questions of a task that were not found in the training data, and over those that were:
    mean, and interval with the number of questions, written."""
    main = [score for score in stage.scores if score.task == row.task and score.metric == row.metric]
    write = percent if all(score.share is not False for score in main) else number
    return [
        (write(part[0]), f"{write(part[1])} to {write(part[2])}, n = {count(int(part[3]))}") if part else (NONE, "")
        for part in (row.clean, row.contaminated)
    ]


def heat_maps(run: Run, instances: Instances) -> list[HeatMap]:
    """The headline by category, of each task whose questions have categories; shades span one task's own means."""
    tasks: dict[str, list[Score]] = {}
    for score in run.scores:
        if score.primary and score.share is not False:
            tasks.setdefault(score.task, []).append(score)
    maps = [_by_category(task, scores, instances) for task, scores in tasks.items()]
    maps += [found for task, scores in tasks.items() for found in _by_parts(task, scores, instances)]
    return [found for found in maps if found is not None]


def _by_category(task: str, scores: Sequence[Score], instances: Instances) -> HeatMap | None:
    """Of a task of several sides each side, and each category on its side."""
    metric, columns = "", []
    for score in scores:
        replies = instances.of(score.stage, task, score.temperature)
        metric = metric or next(iter(replies[0].metrics), "") if replies else metric
        groups: dict[str, dict[str, list[float]]] = {}
        for reply in replies:
            if metric in reply.metrics and not reply.unjudged:
                for group in _groups(reply):
                    groups.setdefault(group, {}).setdefault(reply.id, []).append(reply.metrics[metric])
        columns.append({group: [mean(values) for values in ids.values()] for group, ids in groups.items()})
    return _heat_map(task, "category", metric, [score.stage for score in scores], columns)


def _groups(reply: Reply) -> list[str]:
    if not reply.axis:
        return [reply.group] if reply.group else []
    return [reply.axis, f"{reply.axis}: {reply.group}"] if reply.group else [reply.axis]


def _by_parts(task: str, scores: Sequence[Score], instances: Instances) -> Iterator[HeatMap | None]:
    """The share of parts that hold, by what they are called, for each reading of them."""
    cells = [instances.of(score.stage, task, score.temperature) for score in scores]
    for reading in dict.fromkeys(name for replies in cells for reply in replies for name in reply.marks):
        columns: list[dict[str, list[float]]] = []
        for replies in cells:
            kinds: dict[str, list[float]] = {}
            for reply in replies:
                for kind, holds in () if reply.unjudged else reply.marks.get(reading, ()):
                    kinds.setdefault(kind, []).append(float(holds))
            columns.append(kinds)
        yield _heat_map(task, "kind", reading, [score.stage for score in scores], columns)


def _heat_map(
    task: str, by: str, metric: str, stages: Sequence[str], columns: Sequence[Mapping[str, Sequence[float]]]
) -> HeatMap | None:
    names = sorted({group for column in columns for group in column})
    if not FEWEST_GROUPS <= len(names) <= MOST_GROUPS:
        return None
    means = {
        (name, place): mean(column[name]) for place, column in enumerate(columns) for name in names if name in column
    }
    low, high = min(means.values()), max(means.values())
    rows = [
        HeatRow(
            name,
            count(max(len(column.get(name, ())) for column in columns)),
            tuple(_shade(means.get((name, place)), low, high) for place in range(len(columns))),
        )
        for name in names
    ]
    return HeatMap(task, by, metric, tuple(stages), tuple(rows))


def _shade(value: float | None, low: float, high: float) -> tuple[str, int]:
    if value is None:
        return "–", 0
    return percent(value), min(HEATS - 1, int((value - low) / ((high - low) or 1.0) * HEATS))
