"""The rows that a stage trained on, from its event to the page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.events import Other, RowsTrained
from aftertrain.core.events.lines import event_of
from aftertrain.plugins.report.chart import BOTTOM, RIGHT
from aftertrain.plugins.report.lengths import lengths
from aftertrain.plugins.report.page import render

EVENT: dict[str, Any] = {
    "rows": 1210,
    "kept": 1200,
    "segments": 1200,
    "tokens": 60_000,
    "targets": 15_000,
    "sources": {
        "talks": {"atoms": 900, "tokens": 45_000, "targets": 12_000},
        "<b>": {"atoms": 300, "tokens": 15_000, "targets": 3_000},
    },
    "lengths": {
        "width": 10,
        "counts": [0, 400, 800],
        "mean": 50.0,
        "least": 11,
        "median": 22,
        "p95": 29,
        "greatest": 29,
    },
    "packing": {"steps": 10, "budget": 4096, "micro_batches": 20, "filled": 0.9, "padding": 0.4},
}


def _rows(data: dict[str, Any]) -> RowsTrained:
    event = event_of(RowsTrained, data)
    assert isinstance(event, RowsTrained)
    return event


def test_bars_stand_on_the_axis_in_the_ratio_of_their_counts() -> None:
    """400 and 800 segments: the second bar is twice as high and touches the top; nothing is drawn for 0."""
    found = lengths(_rows(EVENT))
    assert found is not None
    assert found.histogram is not None
    low, high = found.histogram.bars
    assert high.height == pytest.approx(2 * low.height)
    assert all(bar.y + bar.height == pytest.approx(BOTTOM) for bar in (low, high))
    assert (low.title, high.title) == ("10 to 19 tokens: 400", "20 to 29 tokens: 800")
    assert [tick.label for tick in found.histogram.x_ticks] == ["0", "10", "20", "30"]
    assert low.x < high.x < RIGHT


def test_figures_in_words() -> None:
    found = lengths(_rows(EVENT))
    assert found is not None
    told = {label: value.replace("\u202f", " ") for label, value in found.facts}
    assert told == {
        "rows": "1 200 of 1 210 kept",
        "tokens an epoch": "60 000",
        "of them learnt": "15 000 (25.0 %)",
        "packing": "90.0 % of 20 micro-batches of 4 096 tokens filled, no padding",
        "padded instead": "40.0 % of all positions would be padding",
    }
    assert (list(found.sources), found.tokens) == (["talks", "<b>"], 60_000)


@pytest.mark.parametrize(
    "data",
    [{"lengths": {"width": "wide"}, "sources": 7, "packing": {"filled": "odd"}}, {"lengths": []}, {"lengths": None}],
)
def test_what_is_odd_is_left_out(data: dict[str, Any]) -> None:
    found = lengths(_rows(EVENT | data))
    assert found is not None
    assert found.histogram is None


def test_an_event_without_its_counts_is_none() -> None:
    assert lengths(None) is None
    assert isinstance(event_of(RowsTrained, EVENT | {"tokens": "many"}), Other)


def test_the_page_shows_them_with_skipped_steps_and_dropped_rows(make_run: Callable[..., Path]) -> None:
    folder = make_run(end=None)
    events = folder / "events.jsonl"
    lines = events.read_text().splitlines()
    started = next(i for i, line in enumerate(lines) if '"stage_started"' in line and '"sft"' in line)
    one = json.loads(lines[started])
    extra = [
        {**one, "name": "rows", "data": EVENT},
        {**one, "name": "skipped", "step": 3, "data": {"message": "step 3: loss 'policy' is nan; samples: row-7"}},
        {**one, "name": "dropped", "data": {"chosen_equals_rejected": 4, "examples": ["row-9"]}},
    ]
    events.write_text("\n".join([*lines[: started + 1], *map(json.dumps, extra), *lines[started + 1 :]]) + "\n")
    page = render(folder)
    assert page.count('<rect class="bin"') == 2
    assert "&lt;b&gt;" in page
    assert all(f'<td class="num">{share}\u202f%</td>' in page for share in ("75.0", "25.0"))
    assert "no update: step 3: loss &#39;policy&#39; is nan; samples: row-7" in page
    assert re.search(r"chosen_equals_rejected</td><td class=\"num\">4</td>", page)
