"""A suite's table: each row beside what was published, and the suite's number as a tree of rows (F43, F48)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from aftertrain.core.benchmark.outline import OVERLONG, Node, RowOutline, SuiteOutline
from aftertrain.core.clusters import told
from aftertrain.core.events import Contamination, Health, Missing, ScoreRow
from aftertrain.core.ground.wording import counted
from aftertrain.core.statistics import Z95

Standing = Literal["within noise", "below", "above"]
SAME_ROWS = "of the same rows"
"""In place of where it was published: the published scores of those rows that an average has."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: a row, or a number made of rows.

    Attributes:
        name: of the row or the node.
        depth: how deep it stands in the tree; the suite's own number has 0.
        value: the score; None where it is missing.
        low: lower end of its 95 % interval. That of a number made of rows takes these as independent.
        high: its upper end.
        lowest: the score over all questions if all that could not be judged were wrong; None where all was judged.
        highest: the score if all of it were right.
        n: questions that a row's score is made of; None for a number made of rows.
        clustered: how its questions hang together, by which its interval is; "" where they are independent.
        asked: questions that it would be made of if all had a verdict.
        of: rows that it has, and should have, of a number made of rows.
        metric: figure that counts.
        task: whose score it is, where the row has several formulations.
        missing: why there is no score.
        changed: settings of the row that the recipe has set.
        altered: what makes it another protocol than the published one: settings of the row or of the stage.
        other_rule: verdicts that the other reading of thoughts would change: the whole reply, or what follows them.
        reference: published score of the model that is compared with.
        reference_half: half of its 95 % interval, from the questions behind it; None where their number is not known.
        standing: of the score to it, by a two-sided test at 5 %; None where the two are not of one protocol, or the
            noise of the published one is not known.
        table: where it was published.
        table_version: in which version of that.
        share: whether it is written in per cent.
        contamination: of a row's questions by the data that made the model, or of how many rows what is known; "" where
            that was not recorded.
        clean: the score over the questions that were not found there; None where none was, or all were.
        contaminated: over those that were; None where none was.
        fingerprint: of a row's task; only scores with the same one may be compared.
    """

    name: str
    depth: int
    value: float | None
    low: float | None = None
    high: float | None = None
    lowest: float | None = None
    highest: float | None = None
    n: int | None = None
    asked: int | None = None
    clustered: str = ""
    of: tuple[int, int] | None = None
    metric: str = ""
    task: str = ""
    missing: str = ""
    changed: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    other_rule: int = 0
    reference: float | None = None
    reference_half: float | None = None
    table: str = ""
    table_version: str = ""
    share: bool = True
    contamination: str = ""
    clean: float | None = None
    contaminated: float | None = None
    fingerprint: str = ""

    @property
    def counted(self) -> str:
        """Of a row how many questions its score is made of, and of how many where some have no verdict."""
        if self.n is None:
            return ""
        return f"{self.n:,}" if self.asked in (None, self.n) else f"{self.n:,} of {self.asked:,}"

    @property
    def source(self) -> str:
        """Where the published score stands, and in which version of that; "" where there is none."""
        if self.reference is None:
            return ""
        return f"{self.table}, {self.table_version}" if self.table and self.table_version else self.table

    @property
    def standing(self) -> Standing | None:
        """See the attributes."""
        if self.value is None or self.low is None or self.high is None or self.reference is None:
            return None
        if self.reference_half is None or self.altered:
            return None
        below, above = self.value - self.low, self.high - self.value
        # What could not be judged may be wrong, or right.
        below += 0.0 if self.lowest is None else max(0.0, self.value - self.lowest)
        above += 0.0 if self.highest is None else max(0.0, self.highest - self.value)
        gap = self.value - self.reference
        if abs(gap) <= math.hypot(below if gap > 0 else above, self.reference_half):
            return "within noise"
        return "above" if gap > 0 else "below"


def suite_table(
    suite: SuiteOutline,
    reference: str | None,
    scores: Iterable[ScoreRow],
    missing: Iterable[Missing] = (),
    health: Iterable[Health] = (),
    *,
    altered: Sequence[str] = (),
    contamination: Iterable[Contamination] = (),
) -> list[Line]:
    """The lines of a suite, its number first, then as deep as its average goes; other numbers and rows last.

    Of a single row that was chosen among others no number of the suite is made: the table is that row.

    Args:
        suite: with the rows that were scored.
        reference: model whose published scores stand beside.
        scores: of the stage, of any tasks. At several temperatures a row has its first one's.
        missing: rows that the stage could not score.
        health: of the stage's replies.
        contamination: of its tasks.
        altered: settings of the stage by which replies are other than the tasks' own.
    """
    by_task = {row.task: row for row in contamination}
    return _Table(suite, reference, scores, missing, health, altered=altered, contamination=by_task).lines()


def remarks(line: Line) -> list[str]:
    """What a reader must know of a line beside its figures."""
    found = []
    if line.changed:
        found.append(f"with {' and '.join(line.changed)} set")
    if line.reference is not None and line.altered:
        found.append(f"not asked as published ({', '.join(line.altered)} set)")
    if line.lowest is not None and line.highest is not None:
        ends = [f"{100 * value:.1f}" if line.share else f"{value:.4g}" for value in (line.lowest, line.highest)]
        found.append(f"{ends[0]} to {ends[1]} by what could not be judged")
    if line.clustered:
        found.append(line.clustered)
    if line.other_rule:
        found.append(f"{counted(line.other_rule, 'verdict')} other by the other reading of thoughts")
    if line.table == SAME_ROWS:
        found.append(f"published: {SAME_ROWS}")
    return found


class _Table:
    def __init__(
        self,
        suite: SuiteOutline,
        reference: str | None,
        scores: Iterable[ScoreRow],
        missing: Iterable[Missing],
        health: Iterable[Health],
        *,
        altered: Sequence[str],
        contamination: Mapping[str, Contamination],
    ) -> None:
        self._contamination = contamination
        self._suite = suite
        self._chosen = suite.rows
        self._model = reference
        self._altered = tuple(altered)
        self._why = {row.task: row.why for row in missing}
        self._health = {(row.task, row.temperature): row for row in health}
        self._scores: dict[str, list[ScoreRow]] = {}
        for score in scores:
            rows = self._scores.setdefault(score.task, [])
            if not rows or rows[0].temperature == score.temperature:
                rows.append(score)
        self._row = cache(self._row_of)

    def lines(self) -> list[Line]:
        tree = self._suite.tree
        beside = [self._node(node, 0)[0] for node in self._suite.beside if self._told(node)]
        if not self._told(tree):
            return [*beside, *map(self._row, self._chosen)]
        inside = set(tree.leaves())
        others = [self._row(name) for name in self._chosen if name not in inside]
        return [*self._node(tree, 0), *beside, *others]

    def _told(self, node: Node) -> bool:
        """Whether it is made of several of the chosen rows, or of all that it has."""
        names = set(node.leaves())
        chosen = names & self._chosen.keys()
        return len(chosen) > 1 or chosen == names

    def _node(self, node: Node, depth: int) -> list[Line]:
        """A node's line and those of its parts; of rows that were not chosen there are none."""
        lines: list[Line] = []
        parts: list[Line | None] = []
        for part in node.parts:
            if not isinstance(part, str):
                below = self._node(part, depth + 1)
                parts.append(below[0])
                lines += below if len(below) > 1 else []
            elif part in self._chosen:
                lines.append(replace(self._row(part), depth=depth + 1))
                parts.append(self._row_of(part, node.metrics[part]) if part in node.metrics else lines[-1])
            else:
                parts.append(None)
        return [self._combined(node, parts, depth), *lines]

    def _combined(self, node: Node, parts: Sequence[Line | None], depth: int) -> Line:
        there = [part for part in parts if part is not None and part.value is not None]
        rows = list(node.leaves())
        had = sum(name in self._chosen and self._row(name).value is not None for name in rows)
        if node.metrics:
            had = len(there)
        line = Line(node.name, depth, None, of=(had, len(rows)), share=all(part.share for part in there))
        if node.listed:
            return replace(line, missing="no number is made of these rows together")
        if not there or (len(there) < len(parts) and (node.best or node.sum)):
            lacking = [name for name in rows if name not in self._chosen or self._row(name).value is None]
            return replace(line, missing=f"no score of {', '.join(lacking)}")
        if node.best:
            best = _best(there)
            best = replace(best, n=None, asked=None, clustered="", metric="", reference=None, fingerprint="")
            line = replace(best, name=node.name, depth=depth, of=line.of)
        else:
            line = _sum(line, list(self._factors(node, parts)), there)
        line = replace(line, contamination=self._verdicts(rows), clean=None, contaminated=None)
        published = node.references.get(self._model) if self._model is not None and had == len(rows) else None
        if published is not None:
            line = replace(line, reference=published / (100 if line.share else 1), table=self._suite.table)
            line = replace(line, table_version=self._suite.table_version)
        return line

    def _factors(self, node: Node, parts: Sequence[Line | None]) -> Iterator[float]:
        """What each part that has a value counts for."""
        had = [
            part for part, line in zip(node.parts, parts, strict=True) if line is not None and line.value is not None
        ]
        questions = {
            part: line.asked or line.n or 0
            for part, line in zip(node.parts, parts, strict=True)
            if isinstance(part, str) and line is not None
        }
        for part in had:
            if node.sum and isinstance(part, str):
                yield node.sum[part]
            elif node.weighted and isinstance(part, str):
                yield self._suite.rows[part].weight / len(had)
            elif node.pooled and isinstance(part, str):
                yield questions[part] / sum(questions[str(name)] for name in had)
            else:
                yield 1 / len(had)

    def _row_of(self, name: str, metric: str | None = None) -> Line:
        """A row's line by its own figure, or by another of its task's."""
        row = self._chosen[name]
        row = row if metric is None else row.model_copy(update={"metric": metric, "references": {}})
        found = {task: self._task(name, task, row) for task in row.tasks}
        if lacking := [line.missing for line in found.values() if line.value is None]:
            return Line(name, 0, None, missing="; ".join(dict.fromkeys(lacking)), changed=row.changed)
        best = _best(found.values())
        return self._referred(replace(best, task=best.task if len(row.tasks) > 1 else ""), row)

    def _task(self, name: str, task: str, row: RowOutline) -> Line:
        scores = self._scores.get(task, [])
        score = next((s for s in scores if (s.metric == row.metric if row.metric else s.primary)), None)
        if score is None:
            there = ", ".join(s.metric for s in scores)
            why = f"{task} has no figure {row.metric!r}; it has {there}" if scores else f"{task} was not scored"
            return Line(name, 0, None, missing=self._why.get(task, why))
        if score.interval is None:
            return Line(name, 0, None, missing=f"withheld: {_why_withheld(score)}")
        health = self._health.get((task, score.temperature))
        replies = health is not None and health.formatted is not None
        return Line(
            name,
            0,
            score.mean,
            score.low,
            score.high,
            lowest=score.lowest if score.unjudged else None,
            highest=score.highest if score.unjudged else None,
            n=score.n,
            asked=score.of,
            clustered="" if score.clusters is None else told(score.clustered_by, score.clusters),
            metric=score.metric,
            task=task,
            changed=row.changed,
            altered=(*sorted({*row.changed} - {*row.needs}), *self._altered_for(replies=replies)),
            other_rule=(health.other_rule or 0) if health is not None else 0,
            share=score.share is not False,
            **self._contaminated(task, score),
            fingerprint=score.fingerprint,
        )

    def _contaminated(self, task: str, score: ScoreRow) -> dict[str, Any]:
        known = self._contamination.get(task)
        if known is None:
            return {}
        of_this = known.metric == score.metric
        return {
            "contamination": str(known),
            "clean": known.clean[0] if known.clean and of_this else None,
            "contaminated": known.contaminated[0] if known.contaminated and of_this else None,
        }

    def _verdicts(self, rows: Iterable[str]) -> str:
        """Of rows that have a score, how many are what; of several formulations by the first, as they ask the same."""
        there = self._contamination
        scored = [name for name in rows if name in self._chosen and self._row(name).value is not None]
        known = [next((there[task] for task in self._chosen[name].tasks if task in there), None) for name in scored]
        counts = Counter(row.verdict for row in known if row is not None)
        if len(counts) == 1:
            return next(iter(counts))
        return ", ".join(f"{count:,} {verdict}" for verdict, count in counts.most_common())

    def _altered_for(self, *, replies: bool) -> list[str]:
        return [name for name in self._altered if replies or name == OVERLONG]

    def _referred(self, line: Line, row: RowOutline) -> Line:
        """A row beside the published score, if that is of the same figure."""
        if self._model is None or self._model not in row.references or row.published not in (None, line.metric):
            return line
        reference = row.references[self._model] / (100 if line.share else 1)
        half = None
        if row.n and line.share and 0 <= reference <= 1:
            half = Z95 * math.sqrt(reference * (1 - reference) / row.n)
        version = self._suite.table_version if row.table_version is None else row.table_version
        table = row.table or self._suite.table
        return replace(line, reference=reference, reference_half=half, table=table, table_version=version)


def _best(lines: Iterable[Line]) -> Line:
    """The highest, which what could not be judged of any of them may raise, or lower as far as the others let it."""
    there = list(lines)
    best = max(there, key=lambda line: line.value or 0.0)
    if all(line.lowest is None for line in there):
        return best
    lowest = [line.value if line.lowest is None else line.lowest for line in there]
    highest = [line.value if line.highest is None else line.highest for line in there]
    return replace(
        best,
        lowest=max(value for value in lowest if value is not None),
        highest=max(value for value in highest if value is not None),
    )


def _why_withheld(score: ScoreRow) -> str:
    replies = f"{counted(score.unjudged, 'reply', 'replies')} could not be judged"
    if score.lowest is None or score.highest is None:
        return f"{replies}, and nothing bounds what they leave open"
    ends = [f"{100 * value:.1f}" for value in (score.lowest, score.highest)]
    return f"{replies}; it lies between {ends[0]} and {ends[1]}"


def _sum(line: Line, factors: Sequence[float], parts: Sequence[Line]) -> Line:
    """The sum of parts by their factors, and of what is published of them.

    Its interval is made of theirs (MOVER, Zou & Donner 2008): the squares of the distances to their lower ends, and to
    their upper ones, add up, so that no interval that ends at 0 or 1 is taken for an even one.
    """
    pairs = list(zip(factors, parts, strict=True))

    def of(values: Iterable[float | None]) -> float:
        return sum(factor * (value or 0.0) for (factor, _), value in zip(pairs, values, strict=True))

    def distance(values: Iterable[tuple[float | None, float | None]]) -> float:
        found = zip(pairs, values, strict=True)
        return math.sqrt(sum((factor * ((a or 0.0) - (b or 0.0))) ** 2 for (factor, _), (a, b) in found))

    value = of(part.value for part in parts)
    referred = all(part.reference is not None for part in parts)
    known = all(part.reference_half is not None for part in parts)
    unjudged = any(part.lowest is not None for part in parts)
    return replace(
        line,
        value=value,
        low=value - distance((part.value, part.low) for part in parts),
        high=value + distance((part.high, part.value) for part in parts),
        lowest=of(part.value if part.lowest is None else part.lowest for part in parts) if unjudged else None,
        highest=of(part.value if part.highest is None else part.highest for part in parts) if unjudged else None,
        altered=tuple(dict.fromkeys(name for part in parts for name in part.altered)),
        reference=of(part.reference for part in parts) if referred else None,
        reference_half=distance((part.reference_half, 0.0) for part in parts) if known else None,
        table=SAME_ROWS if referred else "",
        table_version="",
    )
