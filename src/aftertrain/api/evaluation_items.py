"""The evaluation sets that a word on the command line stands for: a file, a task, or a suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aftertrain.core.errors import DataError, Unavailable
from aftertrain.core.overlap.files import TEXT, evaluations_of
from aftertrain.core.overlap.items import Evaluation, distinct_sets
from aftertrain.core.overlap.questions import bare, evaluation_of

ENDS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet", TEXT)


def load_evaluations(
    words: Sequence[str], *, data: str | None = None, columns: Sequence[str] = ()
) -> tuple[list[Evaluation], dict[str, str]]:
    """The evaluation sets, and why tasks of suites are not among them.

    Tasks that ask the same questions are one set, by the first's name.

    Args:
        words: files, and names of tasks and suites.
        data: folder of benchmarks, for tasks that read one.
        columns: of files, those that make an item.

    Raises:
        RecipeError: no task or suite of that name. DataError: a file or a task cannot be read.
    """
    sets, missing = list[Evaluation](), dict[str, str]()
    for word in words:
        if word.endswith(ENDS) or Path(word).is_file():
            sets += evaluations_of(Path(word), columns)
        else:
            found, lacking = _of_tasks(word, data)
            sets += found
            missing |= lacking
    return distinct_sets(sets), missing


def _of_tasks(word: str, data: str | None) -> tuple[list[Evaluation], dict[str, str]]:
    from aftertrain.api.evaluation import STAGE, load_one_stage
    from aftertrain.core.benchmark.source import with_folder
    from aftertrain.core.benchmark.suite import named_tasks

    recipe = {"name": STAGE, "model": ".", "stages": {STAGE: {"use": "evaluate", "tasks": [word]}}}
    loaded = load_one_stage(recipe, ())
    settings: Any = loaded.recipe.stages[STAGE].settings
    tasks = named_tasks(settings.tasks)
    sets, missing = [], {}
    for task in tasks:
        try:
            instances = loaded.builder.build(bare(with_folder(task.use, data))).instances()
        except Unavailable as error:
            missing[task.name] = str(error)
            continue
        sets.append(evaluation_of(task.name, instances))
    if not sets:
        reasons = "; ".join(dict.fromkeys(missing.values()))
        raise DataError(f"{word}: none of its questions are here: {reasons:.2000}")
    return sets, missing
