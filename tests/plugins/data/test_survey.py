"""A survey of a data set says of every row what reading it whole says, without making the records nobody wants."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.dataset import BadRow
from aftertrain.plugins.data.formats import record_of
from aftertrain.plugins.data.jsonl import Jsonl
from aftertrain.plugins.data.row import Row, RowFault
from aftertrain.plugins.data.settings import JsonlSettings
from aftertrain.plugins.data.sound import sound_rows

ASKED, SAID = {"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "5"}
OTHER = {"from": "gpt", "value": "6"}
TURNS: list[Any] = [ASKED, SAID, OTHER, {"role": "user", "content": ""}, {"role": "oracle", "content": "5"}]
TURNS += [{"role": "user", "content": None}, {"role": ["user"], "content": "5"}, {**SAID, "weight": 0}, "5", None]
TURNS += [{"role": "user", "from": "gpt"}, {"role": "", "value": "5"}, {"role": "assistant", "value": "5"}]
TEXTS: list[Any] = ["2 + 3?", "5", "", None, 5, ["5"], "Human: 2 + 3?\n\nAssistant: 5"]
NUMBERS: list[Any] = [None, 1, 0.5, float("nan"), float("inf"), 10**400, "1", True, [1]]
EXTRA: dict[str, list[Any]] = {"margin": NUMBERS, "chosen_rating": NUMBERS, "rejected_rating": NUMBERS}
EXTRA |= {"tools": [None, [], 0, [{"name": "add"}], "no JSON"], "id": ["a", 1, None, ""], "prompt": TEXTS}


def drawn(rng: random.Random, format: str) -> dict[str, Any]:
    """A row, whole or broken in one of many ways."""
    turns = [ASKED, SAID] if rng.random() < 0.5 else rng.choices(TURNS, k=rng.randrange(4))
    rows: dict[str, dict[str, Any]] = {
        "messages": {"messages": rng.choice([turns, turns, turns, None, "5", {}])},
        "preference": {"chosen": turns, "rejected": [*turns[:-1], rng.choice([SAID, OTHER, OTHER, *TURNS])]},
        "text": {"text": rng.choice(TEXTS)},
        "prompt_response": {"prompt": rng.choice(TEXTS), "response": rng.choice(TEXTS)},
        "gsm8k": {"question": rng.choice(TEXTS), "answer": rng.choice(TEXTS)},
    }
    extra = {name: rng.choice(values) for name, values in EXTRA.items() if rng.random() < 0.15}
    row = {**extra, **rows[format]}
    return {name: value for name, value in row.items() if rng.random() < 0.97}


@pytest.mark.parametrize("format", ["messages", "preference", "text", "prompt_response", "gsm8k"])
def test_a_row_that_is_called_sound_makes_a_record(format: str) -> None:
    settings = JsonlSettings.model_validate({"path": "x.jsonl", "format": format})
    is_sound, rng, outcomes = sound_rows(settings), random.Random(0), set()
    for _ in range(1000):
        row = drawn(rng, format)
        try:
            record_of(Row("x:1", row, plain=True), settings, "x")
            good = True
        except RowFault:
            good = False
        assert good or not is_sound(row), row
        outcomes.add((good, is_sound(row)))
    assert {(True, True), (False, False)} <= outcomes


def test_a_survey_leaves_out_records_alone(tmp_path: Path) -> None:
    """Ids that come again are numbered as in a whole reading, whether or not the rows before were wanted."""
    rng = random.Random(1)
    rows = [{"id": rng.choice("abc"), "messages": rng.choice([[ASKED, SAID], [ASKED], [SAID]])} for _ in range(60)]
    lines = [*map(json.dumps, rows), "{", json.dumps({"messages": [{**ASKED, "content": "\ud83d"}, SAID]})]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data = Jsonl(JsonlSettings.model_validate({"path": str(tmp_path / "rows.jsonl")}), None)  # type: ignore[arg-type]
    whole, survey = list(data.entries()), list(data.survey(lambda number: number % 4 == 0))
    assert len(survey) == len(whole) == 62
    for number, (entry, seen) in enumerate(zip(whole, survey, strict=True)):
        wanted = number % 4 == 0 or isinstance(entry, BadRow)
        assert seen == (entry if wanted else None)
    assert sum(seen is None for seen in survey) > 20
    assert sum(isinstance(seen, BadRow) for seen in survey) > 10
