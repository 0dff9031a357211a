"""The evaluation sets that a word on the command line stands for: a file, a task, or a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aftertrain.core.errors import DataError, RecipeError
from aftertrain.core.overlap.files import TEXT, evaluations_of
from aftertrain.core.overlap.items import Evaluation, distinct_sets
from aftertrain.core.overlap.questions import reasons, sets_of

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

    recipe = {"name": STAGE, "model": ".", "stages": {STAGE: {"use": "evaluate", "tasks": [word]}}}
    try:
        loaded = load_one_stage(recipe, ())
    except RecipeError as error:
        # The recipe is ours: what a user named is the word.
        raise RecipeError(replace(issue, where=word, path="") for issue in error.issues) from None
    settings: Any = loaded.recipe.stages[STAGE].settings
    sets, missing = sets_of(settings.tasks, loaded.builder, data)
    if not sets:
        raise DataError(f"{word}: none of its questions are here: {reasons(missing):.2000}")
    return [evaluation for _, evaluation in sets], {name: str(error) for name, error in missing.items()}
