"""Tasks of OLMES made from rows that a test writes, or from the shared ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from aftertrain.plugins.olmes import TASKS
from aftertrain.plugins.olmes.task import OlmesTask

Make = Callable[..., OlmesTask]


def build(task_name: str, data: Path | str | None, /, **settings: Any) -> OlmesTask:
    kind: Any = getattr(import_module("aftertrain.plugins.olmes.tasks"), TASKS[task_name][0])
    task: OlmesTask = kind(kind.Config(data=None if data is None else str(data), **settings), None)
    return task


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(name, *rows, **settings)`: a task over these rows, laid out like the hub."""

    def written(task_name: str, /, *rows: Mapping[str, Any], split: str | None = None, **settings: Any) -> OlmesTask:
        task = build(task_name, tmp_path, **settings)
        source = task.source
        file = tmp_path / source.hub / source.config / f"{split or source.split}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return task

    return written
