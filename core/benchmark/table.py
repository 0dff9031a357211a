"""A suite's table: each row beside what was published, and the suite's number as a tree of rows (F43, F48)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from aftertrain.core.benchmark.suite import Node, RowOutline, SuiteOutline
from aftertrain.core.events import Health, Missing, ScoreRow
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
        n: questions of a row; None for a number made of rows.
        of: rows that it has, and should have, of a number made of rows.
        metric: figure that counts.
        task: whose score it is, where the row has several formulations.
        missing: why there is no score.
        changed: settings of the row that the recipe has set, so that it may be no longer the published one.
        other_rule: verdicts that the other reading of thoughts would change: the whole reply, or what follows them.
        reference: published score of the model that is compared with.
        standing: of the score to it, by a two-sided test at 5 % where the number of questions behind it is known.
        table: where it was published.
        share: whether it is written in per cent.
        made_of: standard error of a number made of rows, whose interval ends at 0 and 1 where it is a share.
    """

    name: str
    depth: int
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    of: tuple[int, int] | None = None
    metric: str = ""
    task: str = ""
    missing: str = ""
    changed: tuple[str, ...] = ()
    other_rule: int = 0
    reference: float | None = None
    standing: Standing | None = None
    table: str = ""
    share: bool = True
    made_of: float | None = None

    @property
    def error(self) -> float:
        """Standard error: of a row that which belongs to its interval."""
        if self.made_of is not None:
            return self.made_of
        return 0.0 if self.low is None or self.high is None else (self.high - self.low) / (2 * Z95)


def suite_table(
    suite: SuiteOutline,
    reference: str | None,
    scores: Iterable[ScoreRow],
    missing: Iterable[Missing] = (),
    health: Iterable[Health] = (),
) -> list[Line]:
    """The lines of a suite, its number first, then as deep as its average goes; other numbers and rows last.

    Args:
        suite: with the rows that were scored.
        reference: model whose published scores stand beside.
        missing: rows that the stage could not score.
        health: of the stage's replies.
        scores: of the stage, of any tasks. At several temperatures a row has its first one's.
    """
    return _Table(suite, reference, scores, missing, health).lines()


class _Table:
    def __init__(
        self,
        suite: SuiteOutline,
        reference: str | None,
        scores: Iterable[ScoreRow],
        missing: Iterable[Missing],
        health: Iterable[Health],
    ) -> None:
        self._suite = suite
        self._chosen = suite.rows
        self._model = reference
        self._why = {row.task: row.why for row in missing}
        self._other_rule = {(row.task, row.temperature): row.other_rule or 0 for row in health}
        self._scores: dict[str, list[ScoreRow]] = {}
        for score in scores:
            rows = self._scores.setdefault(score.task, [])
            if not rows or rows[0].temperature == score.temperature:
                rows.append(score)

    def lines(self) -> list[Line]:
        tree = self._suite.tree
        inside = set(tree.leaves())
        others = [self._row(name, 0) for name in self._chosen if name not in inside]
        return [*self._node(tree, 0), *(self._node(node, 0)[0] for node in self._suite.beside), *others]

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
                parts.append(self._row(part, depth + 1))
                lines.append(self._row(part, depth + 1))
            else:
                parts.append(None)
        return [self._combined(node, parts, depth), *lines]

    def _combined(self, node: Node, parts: Sequence[Line | None], depth: int) -> Line:
        there = [part for part in parts if part is not None and part.value is not None]
        rows = list(node.leaves())
        had = sum(self._has(name) for name in rows)
        line = Line(node.name, depth, None, of=(had, len(rows)), share=all(part.share for part in there))
        whole = len(there) == len(parts)
        if not there or (not whole and (node.best or node.sum)):
            lacking = [name for name in rows if not self._has(name)]
            return replace(line, missing=f"no score of {', '.join(lacking)}")
        if node.best:
            best = max(there, key=lambda part: part.value or 0.0)
            line = replace(line, value=best.value, low=best.low, high=best.high, made_of=best.error)
            return self._compared(line, node.references, None)
        factors = self._factors(node, parts)
        value = sum(factor * (part.value or 0.0) for factor, part in zip(factors, there, strict=True))
        error = math.sqrt(sum((factor * part.error) ** 2 for factor, part in zip(factors, there, strict=True)))
        low, high = value - Z95 * error, value + Z95 * error
        if line.share and 0 <= value <= 1:
            low, high = max(0.0, low), min(1.0, high)
        line = replace(line, value=value, low=low, high=high, made_of=error)
        if had == len(rows):
            return self._compared(line, node.references, None)
        return self._compared_in_part(line, factors, there)

    def _compared_in_part(self, line: Line, factors: Sequence[float], there: Sequence[Line]) -> Line:
        """Of an average that lacks rows: beside what is published of the same rows, not of all."""
        if self._model is None or any(part.reference is None for part in there):
            return line
        same = sum(factor * (part.reference or 0.0) for factor, part in zip(factors, there, strict=True))
        scale = 100 if line.share else 1
        return replace(self._compared(line, {self._model: scale * same}, None), table=SAME_ROWS)

    def _factors(self, node: Node, parts: Sequence[Line | None]) -> list[float]:
        """What each part that has a value counts for."""
        names = [
            (str(index), part if isinstance(part, str) else None)
            for index, (part, line) in enumerate(zip(node.parts, parts, strict=True))
            if line is not None and line.value is not None
        ]
        if node.sum:
            return [node.sum[name] for _, name in names if name is not None]
        if node.weighted:
            return [self._suite.rows[name].weight / len(names) for _, name in names if name is not None]
        return [1 / len(names)] * len(names)

    def _has(self, name: str) -> bool:
        return name in self._chosen and self._row(name, 0).value is not None

    def _row(self, name: str, depth: int) -> Line:
        row = self._chosen[name]
        found = [line for task in row.tasks if (line := self._task(name, task, row, depth)) is not None]
        if len(found) < len(row.tasks):
            lacking = [task for task in row.tasks if self._task(name, task, row, depth) is None]
            why = "; ".join(dict.fromkeys(self._why.get(task, f"{task} was not scored") for task in lacking))
            return Line(name, depth, None, missing=why)
        if unknown := [line for line in found if line.value is None]:
            return replace(unknown[0], task="")
        best = max(found, key=lambda line: line.value or 0.0)
        task = best.task if len(row.tasks) > 1 else ""
        return self._compared(replace(best, task=task), row.references, row.n, row.table or self._suite.table)

    def _task(self, name: str, task: str, row: RowOutline, depth: int) -> Line | None:
        scores = self._scores.get(task, [])
        score = next((s for s in scores if (s.metric == row.metric if row.metric else s.primary)), None)
        if score is None:
            return None
        if score.withheld:
            why = f"withheld: {score.unjudged} replies could not be judged"
            return Line(name, depth, None, missing=why)
        return Line(
            name,
            depth,
            score.mean,
            score.low,
            score.high,
            n=score.n,
            metric=score.metric,
            task=task,
            changed=row.changed,
            other_rule=self._other_rule.get((task, score.temperature), 0),
            share=score.share is not False,
        )

    def _compared(self, line: Line, references: Mapping[str, float], n: int | None, table: str = "") -> Line:
        if self._model is None or self._model not in references:
            return line
        published = references[self._model] / (100 if line.share else 1)
        if line.value is None:
            return replace(line, reference=published, table=table)
        theirs = math.sqrt(published * (1 - published) / n) if n and line.share and 0 <= published <= 1 else 0.0
        margin = Z95 * math.hypot(line.error, theirs)
        gap = line.value - published
        standing: Standing = "within noise" if abs(gap) <= margin else "above" if gap > 0 else "below"
        return replace(line, reference=published, standing=standing, table=table or self._suite.table)
