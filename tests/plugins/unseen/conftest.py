"""Tasks of the unseen suite made from rows that a test writes, or from the shared ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from aftertrain.plugins.unseen import TASKS

Make = Callable[..., Any]


def build(task: str, data: Path | str | None, /, **settings: Any) -> Any:
    module, kind = TASKS[task][0].split(":")
    component: Any = getattr(import_module(f"aftertrain.plugins.unseen.{module}"), kind)
    return component(component.Config(data=None if data is None else str(data), **settings), None)


def write(folder: Path, place: str, rows: Sequence[Mapping[str, Any]]) -> None:
    file = folder / f"{place}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(task, {place: rows}, **settings)`: a task over these rows, laid out like the hub."""

    def written(task: str, rows: Mapping[str, Sequence[Mapping[str, Any]]], /, **settings: Any) -> Any:
        for place, those in rows.items():
            write(tmp_path, place, those)
        return build(task, tmp_path, **settings)

    return written


@pytest.fixture
def mapped(tmp_path: Path, shared_data: Path) -> Path:
    """A folder whose map names the shared files."""
    (tmp_path / "data.yaml").write_text(
        f"agieval_english: {{file: '{shared_data}/agieval_en/{{config}}'}}\n"
        f"mmlu_pro: {{file: '{shared_data}/mmlu_pro/{{split}}'}}\n"
        f"deepmind_math: {{file: '{shared_data}/dm_math/dm_math_sample100.jsonl.gz', config: category}}\n"
    )
    return tmp_path
