"""A comparison of evaluations as one page: differences on one axis, scores, and changed questions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from aftertrain.core.clusters import told
from aftertrain.core.events import Difference, ScoreRow
from aftertrain.core.ground.wording import at_temperature, sides_text
from aftertrain.core.stage import Flip
from aftertrain.plugins.report import numbers
from aftertrain.plugins.report.forest import Forest, Row, forest
from aftertrain.plugins.report.page import asset, environment
from aftertrain.plugins.report.settings import DEFAULTS

FLIPS = 50
"""Changed questions of a side that are shown."""


class Compared(Protocol):
    """What is drawn: the sides, the first of which the others are compared with."""

    @property
    def sides(self) -> tuple[str, ...]:
        """Their names."""
        ...

    @property
    def scores(self) -> Mapping[tuple[str, str, float | None], tuple[ScoreRow | None, ...]]:
        """Of each side, by task, metric and temperature."""
        ...

    @property
    def differences(self) -> Mapping[str, tuple[Difference, ...]]:
        """By other side."""
        ...

    @property
    def flips(self) -> Mapping[str, tuple[Flip, ...]]:
        """By other side."""
        ...

    @property
    def headlines(self) -> frozenset[tuple[str, str]]:
        """Task and metric of main figures."""
        ...

    def contaminated(self, task: str) -> tuple[str, ...]:
        """Of each side: questions of a task in the data that made the model."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know."""
        ...


def write(path: Path, compared: Compared) -> Path:
    """Write the page; it needs no other file and no network."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(compared), encoding="utf-8")
    return path


def render(compared: Compared) -> str:
    """The page as HTML."""
    return (
        environment(DEFAULTS)
        .get_template("comparison.html.j2")
        .render(
            policy="default-src 'none'; style-src 'unsafe-inline'; img-src data:",
            style=asset("style.css"),
            sides=compared.sides,
            notes=compared.notes,
            charts=list(charts(compared)),
            table=[
                (key, [_cell(cell) for cell in cells], sides_text(compared.sides, compared.contaminated(key[0])))
                for key, cells in compared.scores.items()
            ],
            flips=[(side, flips[:FLIPS], len(flips)) for side, flips in compared.flips.items()],
        )
    )


def charts(compared: Compared) -> Sequence[Forest]:
    """Of each other side its differences in the tasks' main figures: shares on one axis in points, others on theirs."""
    drawn = []
    for side, rows in compared.differences.items():
        main = [row for row in rows if (row.task, row.metric) in compared.headlines]
        shares = [row for row in main if _share(compared, row)]
        if shares:
            placed = [_row(row, share=True) for row in shares]
            drawn.append(forest(f"{side} − {compared.sides[0]}", "%", placed, bounds=None, zero=True))
        for row in main:
            if row not in shares:
                title = f"{side} − {compared.sides[0]}: {row.task}"
                drawn.append(forest(title, "", [_row(row, share=False)], bounds=None, zero=True))
    return drawn


def _share(compared: Compared, row: Difference) -> bool:
    cells = compared.scores.get((row.task, row.metric, row.temperature), ())
    return all(cell.share is not False for cell in cells if cell is not None)


def _row(row: Difference, *, share: bool) -> Row:
    scale, digits = (100, 1) if share else (1, 3)
    low, high = (numbers.signed(scale * value, digits) for value in (row.low, row.high))
    way = row.direction
    clustered = "" if row.clusters is None else f", {told(row.clustered_by, row.clusters)}"
    left_out = f", {numbers.counted(row.unjudged, 'pair')} left out, not judged" if row.unjudged else ""
    p = (
        ""
        if row.adjusted is None
        else f", p {'< 0.001' if row.adjusted < 0.001 else f'= {numbers.number(row.adjusted, 2)}'}"
    )
    unit = f"{numbers.SPACE}points" if share else ""
    return Row(
        label=row.task,
        detail=f"{row.metric}{at_temperature(row.temperature, ', temperature ')}",
        tone=way,
        mean=row.mean * scale,
        low=row.low * scale,
        high=row.high * scale,
        value=f"{numbers.signed(row.mean * scale, digits)}{unit}",
        interval=f"{low} to {high}",
        n=numbers.count(row.n),
        verdict="no difference shown" if way == "none" else f"a {way}",
        note=f"{numbers.count(row.better or 0)} up, {numbers.count(row.worse or 0)} down{p}{left_out}{clustered}",
    )


def _cell(score: ScoreRow | None) -> tuple[str, str]:
    """A score and its interval, written."""
    if score is None:
        return "–", ""
    write = numbers.percent if score.share is not False else numbers.number
    between = ""
    if score.unjudged and score.lowest is not None and score.highest is not None:
        between = f"between {write(score.lowest)} and {write(score.highest)}"
    if (found := score.interval) is None:
        return "withheld", between
    return write(found.mean), ", ".join(filter(None, (f"{write(found.low)} to {write(found.high)}", between)))
