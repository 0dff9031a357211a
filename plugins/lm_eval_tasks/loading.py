"""Tasks of lm-eval as its own code makes them, with the seeds and the defaults of its `simple_evaluate`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any

from aftertrain.core.errors import AftertrainError, DataError, Unavailable
from aftertrain.plugins.lm_eval_tasks.catalogue import Found
from aftertrain.plugins.lm_eval_tasks.data import data_sets, splits_of
from aftertrain.plugins.lm_eval_tasks.settings import LmEvalSettings

SEED, OTHER_SEED = 0, 1234
"""`simple_evaluate`'s seed of Python's randomness, and of NumPy's and of the draw of worked examples."""


@dataclass(frozen=True)
class Aggregate:
    """How a group makes one number of its tasks' numbers.

    Attributes:
        metric: by its name, of every filter.
        by_size: tasks weigh as their questions (the mean over all questions); else all the same.
    """

    metric: str
    by_size: bool


@dataclass(frozen=True)
class Loaded:
    """Task objects of lm-eval by their names, and how their group, if they are one, is aggregated."""

    tasks: Mapping[str, Any]
    aggregates: Sequence[Aggregate] = ()


def load(settings: LmEvalSettings, found: Found) -> Loaded:
    """The tasks that a name stands for, ready to be asked.

    Raises:
        DataError: a task cannot be made, or is none that a text model could be asked.
        Unavailable: its data set, or the split of its worked examples, is not here.
    """
    from lm_eval.tasks import TaskManager

    name = f"task 'lm_eval/{settings.member}'"
    with _seeded(), silent(), data_sets(settings.data, found.leaves):
        try:
            if len(found.files) == 1 and not found.group:
                loaded = TaskManager(include_defaults=False).load([str(found.files[0])])
            else:
                folders: list[Any] = list(found.folders)
                loaded = TaskManager(include_path=folders, include_defaults=False).load([settings.member])
        except AftertrainError:
            raise
        except Exception as error:
            raise DataError(f"{name}: lm-eval cannot make it: {type(error).__name__}: {error}") from error
    meant = settings.tasks  # lm-eval makes all of a group's
    tasks: dict[str, Any] = {n: task for n, task in loaded["tasks"].items() if meant is None or n in meant}
    for leaf, task in tasks.items():
        _prepare(task, leaf, settings)
        _check(task, leaf, settings, found)
    top = loaded.get("groups", {}).get(settings.member)
    listed = (top.aggregate_metric_list or []) if top is not None else []
    return Loaded(tasks, [Aggregate(entry.metric, bool(entry.weight_by_size)) for entry in listed])


def _prepare(task: Any, name: str, settings: LmEvalSettings) -> None:
    """What `simple_evaluate` does with its `num_fewshot`: a task that says 0 keeps it."""
    own = task.get_config("num_fewshot")
    if settings.shots is not None and own == 0 and settings.shots != 0:
        raise DataError(f"task 'lm_eval/{name}': its file sets num_fewshot to 0, which lm-eval lets nobody change")
    shots = own if settings.shots is None else settings.shots
    task.set_config(key="num_fewshot", value=shots or 0)
    task.set_fewshot_seed(seed=OTHER_SEED)


def _check(task: Any, name: str, settings: LmEvalSettings, found: Found) -> None:
    where = f"task 'lm_eval/{name}'"
    if getattr(task, "MULTIMODAL", False):
        raise DataError(f"{where} shows images or plays sounds, which models here do not read")
    if getattr(task, "UNSAFE_CODE", False) and not settings.unsafe_code:
        raise DataError(
            f"{where} runs the model's code on this machine, by lm-eval and outside our sandbox; 'humaneval' runs in "
            "the sandbox, 'unsafe_code: true' runs it all the same"
        )
    config = found.leaves.get(name, {})
    rows = getattr(task, "dataset", None)
    if not isinstance(rows, Mapping):
        return
    lacking = [split for split in splits_of(config)[1:] if split in rows and len(rows[split]) == 0]
    if task.get_config("num_fewshot") and not getattr(getattr(task, "sampler", None), "df", True) and lacking:
        raise Unavailable(
            f"{where} draws its {task.get_config('num_fewshot')} worked examples from split "
            f"{' or '.join(map(repr, lacking))} of {config.get('dataset_path')}, which {settings.data} lacks; "
            "shots=0 asks without"
        )


@contextmanager
def _seeded() -> Iterator[None]:
    """`simple_evaluate`'s seeds, for tasks that draw or shuffle while they are made; states come back after it."""
    import numpy as np

    states = random.getstate(), np.random.get_state()
    random.seed(SEED)
    np.random.seed(OTHER_SEED)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextmanager
def silent() -> Iterator[None]:
    """Without lm-eval's progress bars."""
    with redirect_stderr(StringIO()):
        yield
