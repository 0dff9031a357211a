"""Where a context is too short for all worked examples, fewer are shown if that is asked for, and it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import aftertrain
from aftertrain.api.rescoring import rescore
from aftertrain.core.errors import AftertrainError


@pytest.fixture
def task(tmp_path: Path) -> dict[str, Any]:
    def rows(name: str, first: int, n: int, words: int) -> str:
        file = tmp_path / name
        lines = [
            {"question": f"Is {i} even? {'Think. ' * words}", "choices": ["yes", "no"], "answer": i % 2}
            for i in range(first, first + n)
        ]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return str(file)

    return {
        "use": "multiple_choice",
        "path": rows("q.jsonl", 0, 3, 1),
        "shots": 5,
        "shots_path": rows("s.jsonl", 90, 6, 12),
    }


def test_they_are_fewer_only_if_asked(task: dict[str, Any], tiny_model: Path, tmp_path: Path) -> None:
    """The tiny model's context is of 512 tokens, and each example takes about a hundred."""
    with pytest.raises(AftertrainError, match=r"do not fit the model's context.*fewer_shots"):
        aftertrain.evaluate(tiny_model, task, out=tmp_path / "refused")
    scores = aftertrain.evaluate(tiny_model, task, out=tmp_path / "run", overlong="fewer_shots")
    assert scores[0]["n"] == 3
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [event["data"]["message"] for event in events if event["name"] == "warning"]
    shown = [message for message in told if "worked examples" in message]
    assert len(shown) == 1, told
    assert int(shown[0].split(" of 5 ")[0].split()[-1]) in range(1, 5)
    # Saved outputs are scored again as they were asked.
    (again,) = rescore(tmp_path / "run")
    assert [row.mean for row in again.now.scores] == [score["mean"] for score in scores]
    assert sum(changed for _, changed in again.now.rows.values()) == 0
