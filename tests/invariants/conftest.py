"""A recipe of one training stage on the tiny model, with a few rows of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = [f"word{i}" * (1 + i % 3) for i in range(21)]


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`recipe(loss, …)` writes the recipe of a stage `train` with that loss and returns its path.

    Six rows of 20 to 60 tokens, no two of one length; `format` says what they are.
    """
    monkeypatch.chdir(tmp_path)

    def write(loss: Any, format: str = "messages", **settings: Any) -> str:
        rows = tmp_path / f"{format}.jsonl"
        rows.write_text("".join(json.dumps(_row(format, i)) + "\n" for i in range(6)), encoding="utf-8")
        stage = {
            "use": "train",
            "loss": loss,
            "data": {"use": "jsonl", "path": str(rows), "format": format},
            "optimizer": {"lr": 1e-5, "warmup": 0.5},
            "engine": {"use": "torch", "device": "cpu"},
            "batch": {"max_tokens": 128, "micro_tokens": 512},
            **settings,
        }
        made = {"name": "try", "model": str(tiny_model), "threads": 1, "stages": {"train": stage}}
        path = tmp_path / "try.yaml"
        path.write_text(json.dumps(made), encoding="utf-8")
        return str(path)

    return write


def _row(format: str, i: int) -> dict[str, Any]:
    question, good, bad = (" ".join(WORDS[at : at + n]) for at, n in ((i, 3 + i), (2 * i, 4 + i), (i + 1, 8 - i)))
    if format == "messages":
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": good}]
        return {"id": f"row-{i}", "messages": turns}
    if format == "feedback":
        return {"id": f"row-{i}", "prompt": question, "completion": good, "label": i % 2 == 0}
    return {"id": f"row-{i}", "prompt": question, "chosen": good, "rejected": bad, "margin": 0.5 + i}
