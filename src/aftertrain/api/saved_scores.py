"""The questions of a finished evaluation, and what each of them scored, for the grid of F4."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aftertrain.core.overlap.items import Evaluation


def saved_scores(run: str | os.PathLike[str]) -> tuple[list[Evaluation], dict[str, dict[str, float]]]:
    """The tasks of an evaluation as evaluation sets, and the main metric of each question.

    Of several replies to a question the mean of those that have a verdict, at the first temperature.

    Args:
        run: a run's folder or its name under `runs/`; with `:STAGE` where it has several evaluations.

    Raises:
        RunError: there is no finished evaluation, or several.
    """
    from aftertrain.api.finished import finished_evaluation
    from aftertrain.core.benchmark.source import with_folder
    from aftertrain.core.overlap.questions import sets_of
    from aftertrain.plugins.evaluation.evaluate import INSTANCES
    from aftertrain.plugins.evaluation.rows import read_instances
    from aftertrain.plugins.evaluation.summary import unjudged

    evaluation = finished_evaluation(run)
    stage = evaluation.built()
    rows = read_instances(evaluation.folder / INSTANCES)
    sets, scores = [], {}
    for task, asked in sets_of(stage.settings.tasks, stage.builder, stage.settings.data)[0]:
        metric = stage.builder.build(with_folder(task.use, stage.settings.data)).metrics[0]
        mine = [row for row in rows if row.task == task.name]
        by_question: dict[str, list[float]] = {}
        for row in mine:
            if row.temperature == mine[0].temperature and not unjudged(row):
                by_question.setdefault(row.id, []).append(row.metrics[metric])
        scores[task.name] = {id_: sum(values) / len(values) for id_, values in by_question.items()}
        sets.append(asked)
    return sets, scores
