"""A task's own figures of one side of a comparison: macro means, pass@k, ratios, and numbers of a whole corpus.

Whatever another evaluator's file tells of each question is given to the figures of our task; a figure that needs more
than the file has is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aftertrain.core.eval_task import InstanceScore
from aftertrain.core.figures import Figure
from aftertrain.core.statistics import Interval, Weights, bootstrap_corpus, mean_interval

Scored = Mapping[str, Sequence[InstanceScore]]
"""What the outputs of each question are worth."""
LACKING = (KeyError, ValueError, ArithmeticError, TypeError, IndexError)
"""What a figure raises of scores that do not have what it is made of."""


@dataclass(frozen=True)
class TaskFigures:
    """The figures of a task, and the group and the cluster of each question.

    Attributes:
        clustered_by: what questions of a cluster share.
        headline: the first figure's name; "" where the task's data are not here.
    """

    figures: Sequence[Figure] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    clusters: Mapping[str, str] = field(default_factory=dict)
    clustered_by: str = ""

    def clusters_of(self, ids: Iterable[str]) -> list[str]:
        """Of each of these questions, as far as the task's data are here."""
        return [self.clusters.get(id_, "") for id_ in ids]

    @property
    def headline(self) -> str:
        """See the attributes."""
        return self.figures[0].name if self.figures else ""


def is_mean(figure: Figure) -> bool:
    """Whether it is a plain mean over the questions."""
    return not figure.grouped and figure.weight is None and figure.shown is None and figure.corpus is None


def values_of(figure: Figure, scored: Scored) -> dict[str, float]:
    """What each question is worth by a figure; none where a question lacks what it is made of."""
    try:
        return {id_: figure.value(scores) for id_, scores in scored.items()}
    except LACKING:
        return {}


def weights_of(figure: Figure, task: TaskFigures, scored: Scored, ids: Sequence[str]) -> Weights | None:
    """What each of these questions weighs; None where all weigh the same.

    Raises:
        KeyError, ValueError: the scores do not tell.
    """
    if figure.grouped:
        return Weights.of_groups([task.groups[id_] for id_ in ids])
    return None if figure.weight is None else Weights.of_sizes([figure.weight(scored[id_]) for id_ in ids])


def interval_of(figure: Figure, task: TaskFigures, scored: Scored) -> Interval | None:
    """A figure of one side; None where its scores do not have what it is made of."""
    try:
        if figure.corpus is not None:
            scores = list(scored.values())
            clusters = task.clusters_of(scored)
            return bootstrap_corpus(
                scores, figure.corpus, share=figure.share, resamples=figure.resamples, clusters=clusters
            )
        values = values_of(figure, scored)
        weights = weights_of(figure, task, scored, list(values))
        interval = mean_interval(list(values.values()), weights, task.clusters_of(values))
    except LACKING:
        return None
    if figure.shown is None:
        return interval
    mean, low, high = map(figure.shown, (interval.mean, interval.low, interval.high))
    return Interval(mean, low, high, interval.n)
