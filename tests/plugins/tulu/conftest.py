"""Tasks of Tülu 3's suite made from rows that a test writes, or from the shared ones."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.benchmark import ReplyBenchmark
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.records import Completion
from aftertrain.plugins.tulu import TASKS

Make = Callable[..., ReplyBenchmark[Any]]

MAP = """
mmlu_cot: {{file: "{0}/mmlu/{{split}}.jsonl.gz"}}
bbh: {{file: "{0}/bbh/bbh.jsonl.gz", config: task}}
"""


def lm_eval_module(name: str) -> Any:
    """A file of lm-eval's tasks by itself, since importing the package takes seconds."""
    package = importlib.util.find_spec("lm_eval")
    if package is None or package.submodule_search_locations is None:
        pytest.skip("lm_eval is not installed", allow_module_level=True)
    file = Path(package.submodule_search_locations[0], "tasks", *name.split("/"))
    spec = importlib.util.spec_from_file_location(f"lm_eval_{file.parent.name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(task_name: str, data: Path | str | None, /, **settings: Any) -> ReplyBenchmark[Any]:
    kind: Any = getattr(import_module(f"aftertrain.plugins.tulu.{task_name}"), TASKS[task_name][0])
    task: ReplyBenchmark[Any] = kind(kind.Config(data=None if data is None else str(data), **settings), None)
    return task


@pytest.fixture
def mapped(shared_data: Path, tmp_path: Path) -> Path:
    """A folder with a map to the shared files."""
    (tmp_path / "data.yaml").write_text(MAP.format(shared_data))
    return tmp_path


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(name, *rows, place=…, **settings)`: a task over these rows, laid out like the hub."""

    def written(
        task_name: str, /, *rows: Mapping[str, Any], place: str | None = None, **settings: Any
    ) -> ReplyBenchmark[Any]:
        task = build(task_name, tmp_path, **settings)
        file = tmp_path / f"{place or task.sources[0]}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return task

    return written


def judged(task: ReplyBenchmark[Any], instance: Instance, text: str) -> InstanceScore:
    return task.score(instance, Completion("1", (1,), (2,), (0.0,), (0,), "stop", text))
