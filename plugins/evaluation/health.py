"""How a task's replies ended: what a reader must know of them before trusting the score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from aftertrain.core.events import Health
from aftertrain.core.figures import Figure
from aftertrain.core.statistics import weighted_mean
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.suite import ReadyTask
from aftertrain.plugins.evaluation.summary import by_cell, questions_of, unjudged, weights_of

FORMAT = ("format", "format_correct", "answer_format_correct")
"""Metrics by which tasks say that a reply has the asked form."""
PATHS = 8
"""Rules that a histogram of how answers were found names."""


def health(tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance]) -> Iterator[Health]:
    """Of each task and temperature."""
    named = {task.name: task for task in tasks}
    for (name, temperature), cell in by_cell(rows).items():
        task = named[name]
        replies = [row for row in cell if row.finish_reason]
        completed, n_completed = _completed(cell, task.figures[0]) if replies else (None, 0)
        yield Health(
            task=name,
            temperature=temperature,
            n=len(cell),
            truncated=sum(row.finish_reason == "length" for row in cell),
            empty=sum(not row.output.strip() for row in replies),
            mean_tokens=sum(row.n_tokens for row in cell) / len(cell),
            outcomes=dict(sorted(Counter(row.outcome for row in cell).items())),
            formatted=_formatted(replies),
            paths=_paths(replies),
            completed=completed,
            n_completed=n_completed,
            other_rule=sum(
                row.other_rule is not None and row.other_rule != row.metrics[task.task.metrics[0]] for row in replies
            ),
        )


def _formatted(replies: Sequence[ScoredInstance]) -> float | None:
    judged = [row for row in replies if not unjudged(row)]
    if not judged:
        return None
    name = next((name for name in FORMAT if name in judged[0].metrics), None)
    if name is not None:
        return sum(row.metrics[name] for row in judged) / len(judged)
    return sum(row.outcome != "unparsable" for row in judged) / len(judged)


def _paths(replies: Sequence[ScoredInstance]) -> dict[str, int]:
    """Judged replies by the beginning of their verdict's detail, which names the rule; none where each has its own."""
    found = Counter(
        row.detail.partition(",")[0].partition(";")[0].strip() for row in replies if not unjudged(row) and row.detail
    )
    if len(found) > PATHS and 2 * len(found) > found.total():
        return {}
    paths = dict(found.most_common(PATHS))
    if rest := found.total() - sum(paths.values()):
        paths["other"] = paths.get("other", 0) + rest
    return paths


def _completed(cell: Sequence[ScoredInstance], figure: Figure) -> tuple[float | None, int]:
    """The headline without the questions of which a reply was cut or could not be judged."""
    whole = [
        question
        for question in questions_of(cell).values()
        if question.has(figure) and question.judged and all(row.finish_reason != "length" for row in question.rows)
    ]
    if not whole:
        return None, 0
    values = [question.value(figure) for question in whole]
    try:
        mean = weighted_mean(values, weights_of(figure, whole))
    except ValueError:  # all that is left weighs nothing
        return None, 0
    return mean if figure.shown is None else figure.shown(mean), len(whole)
