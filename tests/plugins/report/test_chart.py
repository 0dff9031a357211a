"""Geometry of charts: positions are checked against the linear maps they stand for."""

from __future__ import annotations

import json
import re

import pytest

from aftertrain.plugins.report.chart import (
    BOTTOM,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    Series,
    line_chart,
    stacked_chart,
)
from aftertrain.plugins.report.forest import Row, forest


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


def series(values: list[float], label: str = "loss", **options: int) -> Series:
    return Series(label, tuple(range(1, len(values) + 1)), tuple(values), **options)


def test_steps_span_the_width_and_greater_is_higher() -> None:
    chart = line_chart("Loss", "", [series([3.0, 1.0, 2.0])])
    (x0, y0), (x1, y1), (x2, y2) = points(chart.lines[0].path)
    assert (x0, x2) == (LEFT, RIGHT)
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert TOP <= y0 < y2 < y1 <= BOTTOM
    assert y2 == pytest.approx((y0 + y1) / 2, abs=0.1)  # 2 lies midway between 1 and 3


def test_an_axis_from_zero_puts_zero_at_the_bottom() -> None:
    chart = line_chart("Speed", "tokens/s", [series([50.0, 100.0])], from_zero=True)
    assert chart.y_ticks[0].label == "0"
    assert chart.y_ticks[0].at == BOTTOM


def test_long_series_become_means_with_a_band_and_say_so() -> None:
    values = [float(index % 2) for index in range(MOST_POINTS * 2)]  # each pair has mean 0.5, least 0, greatest 1
    chart = line_chart("Noise", "", [series(values)])
    line = points(chart.lines[0].path)
    assert len(line) == MOST_POINTS
    assert len({y for _, y in line}) == 1
    assert len({y for _, y in points(chart.lines[0].band)}) == 2
    assert "mean of 2 values" in chart.note
    assert "n = 240" in chart.summary


def test_values_that_are_not_finite_are_counted_in_the_note() -> None:
    assert "not finite: 2 values" in line_chart("Loss", "", [series([1.0, 2.0], not_finite=2)]).note


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0, 5.0], [-1.0]])
def test_single_and_constant_values_are_drawn_inside(values: list[float]) -> None:
    for chart in (line_chart("c", "", [series(values)]), line_chart("c", "", [series(values)], from_zero=True)):
        assert all(TOP <= y <= BOTTOM for _, y in points(chart.lines[0].path))


def test_shares_are_written_in_per_cent_and_never_pass_100() -> None:
    chart = line_chart("Accuracy", "%", [series([0.5, 1.0])], from_zero=True)
    assert chart.lines[0].last_text == "100.0\u202f%"
    assert [tick.label for tick in chart.y_ticks] == ["0", "25", "50", "75", "100"]


def test_stacked_areas_stand_on_one_another() -> None:
    chart = stacked_chart("Time", "s", [series([1.0, 1.0], "generate"), series([2.0, 2.0], "update")])
    first, second = ([y for _, y in points(line.path)] for line in chart.lines)
    floor = BOTTOM
    assert (floor - second[0]) == pytest.approx(3 * (floor - first[0]), abs=0.2)


def test_hover_holds_every_drawn_value() -> None:
    data = json.loads(line_chart("Loss", "", [series([3.0, 1.0])]).hover)
    assert data == [{"name": "loss", "x": [LEFT, RIGHT], "step": ["1", "2"], "value": ["3", "1"]}]


def row(mean: float, low: float, high: float) -> Row:
    return Row("m", "", "t0", mean, low, high, "", "", "")


def test_forest_places_shares_by_their_value() -> None:
    placed = forest("a", "%", [row(40.0, 30.0, 55.5)], bounds=(0.0, 100.0), zero=False).rows[0]
    assert (placed.mean, placed.low, placed.high) == (40.0, 30.0, 55.5)


def test_forest_of_differences_contains_and_marks_zero() -> None:
    chart = forest("a", "points", [row(12.0, 8.0, 16.0)], bounds=None, zero=True)
    assert chart.zero is not None
    assert 0 < chart.zero < chart.rows[0].low < chart.rows[0].mean < chart.rows[0].high < 100
