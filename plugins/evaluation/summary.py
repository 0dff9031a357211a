"""From scored instances to what a reader sees: means with intervals, paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from aftertrain.core.eval_task import InstanceScore
from aftertrain.core.events import Difference, Missing, ScoreRow
from aftertrain.core.figures import UNKNOWN, Figure
from aftertrain.core.ground.wording import counted
from aftertrain.core.records import UNJUDGED
from aftertrain.core.statistics import (
    Interval,
    Weights,
    bootstrap_corpus,
    design_effect,
    holm,
    mean_interval,
    paired_difference,
    paired_p,
    weighted_mean,
)
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.suite import ReadyTask

CLUSTER = 10
"""Mean size of groups up to which they are taken for clusters."""
Cell = tuple[str, float]
"""Task and temperature."""


def by_cell(rows: Iterable[ScoredInstance]) -> dict[Cell, list[ScoredInstance]]:
    """Rows grouped by task and temperature."""
    grouped: dict[Cell, list[ScoredInstance]] = {}
    for row in rows:
        grouped.setdefault((row.task, row.temperature), []).append(row)
    return grouped


@dataclass(frozen=True, slots=True)
class Question:
    """What a model made of one question: its replies in order, or its one set of log-likelihoods."""

    group: str
    rows: tuple[ScoredInstance, ...]

    def scores(self, unjudged_as: float | None = None) -> list[InstanceScore]:
        """Of its outputs; what could not be judged counts as the task gave it (0), or as `unjudged_as`."""
        return [
            InstanceScore(row.metrics, row.extracted, row.outcome, parts=row.parts)
            if unjudged_as is None or not unjudged(row)
            else InstanceScore(dict.fromkeys(row.metrics, unjudged_as), UNKNOWN, row.outcome)
            for row in self.rows
        ]

    @property
    def judged(self) -> bool:
        """Whether each of its outputs could be judged."""
        return not any(map(unjudged, self.rows))


def questions_of(cell: Sequence[ScoredInstance]) -> dict[str, Question]:
    """The rows of a cell by question, in their order."""
    grouped: dict[str, list[ScoredInstance]] = {}
    for row in cell:
        grouped.setdefault(row.id, []).append(row)
    return {id_: Question(rows[0].group, tuple(rows)) for id_, rows in grouped.items()}


def scores(tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance]) -> list[ScoreRow]:
    """One row per task, temperature and figure, the headline first, with its 95 % interval over the questions.

    `unjudged` counts the outputs whose judging failed or took too long. They are in the mean with what the task gave
    them (0); `lowest` and `highest` are what the figure would be if all of them were wrong, or right. None for a figure
    that is no share. Of more than the stage's `withhold_above` of them the mean is no result: `withheld`. A figure that
    is not defined of these questions (a rate of safe prompts, where there is none) has no row.
    """
    cells = by_cell(rows)
    table: list[ScoreRow] = []
    for task in tasks:
        for temperature in task.temperatures:
            cell = cells[task.name, temperature]
            questions = list(questions_of(cell).values())
            for place, figure in enumerate(task.figures):
                if figure.votes and not _answered(cell):
                    continue
                if (interval := _interval(figure, questions)) is None:
                    continue
                lowest, highest = _bounds(questions, figure)
                open_ = sum(map(unjudged, cell))
                table.append(
                    ScoreRow(
                        task=task.name,
                        metric=figure.name,
                        temperature=temperature,
                        mean=interval.mean,
                        low=interval.low,
                        high=interval.high,
                        n=interval.n,
                        unjudged=open_,
                        lowest=lowest,
                        highest=highest,
                        primary=place == 0,
                        fingerprint=task.fingerprint,
                        share=figure.share and figure.shown is None and 0 <= interval.mean <= 1,
                        withheld=open_ > task.withhold_above * len(cell),
                    )
                )
    return table


def undefined(tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance]) -> list[Missing]:
    """The tasks whose headline is not defined of the questions that were asked, and why."""
    cells = by_cell(rows)
    found = []
    for task in tasks:
        figure, questions = task.figures[0], list(questions_of(cells[task.name, task.temperatures[0]]).values())
        why = None if _defined(figure, questions) else "no question of those that were asked counts for it"
        if figure.corpus is not None:
            try:
                figure.corpus([question.scores() for question in questions])
            except ArithmeticError as error:
                why = str(error)
        if why is not None:
            asked = counted(len(questions), "question")
            found.append(Missing(task.name, f"{figure.name} is not defined of {asked}: {why}"))
    return found


def _answered(cell: Iterable[ScoredInstance]) -> bool:
    """Whether scoring reads answers from replies: of none that it scored, it reads none at all."""
    answers = [row.extracted for row in cell if row.outcome == "scored"]
    return not answers or any(answer is not None for answer in answers)


def unjudged(row: ScoredInstance) -> bool:
    """Whether the row's score says nothing of its reply."""
    return row.outcome in UNJUDGED


def _interval(figure: Figure, questions: Sequence[Question]) -> Interval | None:
    """A figure with its interval; None where it is not defined."""
    scores = [question.scores() for question in questions]
    if figure.corpus is not None:
        try:
            return bootstrap_corpus(scores, figure.corpus, share=figure.share, resamples=figure.resamples)
        except ArithmeticError:
            return None
    if not _defined(figure, questions):
        return None
    return _shown(figure, mean_interval([figure.value(of_one) for of_one in scores], weights_of(figure, questions)))


def _defined(figure: Figure, questions: Sequence[Question]) -> bool:
    return figure.weight is None or any(figure.weight(question.scores()) > 0 for question in questions)


def _shown(figure: Figure, interval: Interval) -> Interval:
    if figure.shown is None:
        return interval
    mean, low, high = map(figure.shown, (interval.mean, interval.low, interval.high))
    return Interval(mean, low, high, interval.n)


def weights_of(figure: Figure, questions: Sequence[Question]) -> Weights | None:
    """What each question weighs in the mean; None where all weigh the same."""
    if figure.grouped:
        return Weights.of_groups([question.group for question in questions])
    if figure.weight is not None:
        return Weights.of_sizes([figure.weight(question.scores()) for question in questions])
    return None


def _bounds(questions: Sequence[Question], figure: Figure) -> tuple[float | None, float | None]:
    """A share's mean if all that could not be judged were wrong, and if all were right; None for any other figure."""
    if not figure.share or figure.shown is not None or figure.corpus is not None:
        return None, None
    weights = weights_of(figure, questions)
    wrong, right = ([figure.value(q.scores(filled)) for q in questions] for filled in (0.0, 1.0))
    if not all(0 <= value <= 1 for value in (*wrong, *right)):
        return None, None
    return weighted_mean(wrong, weights), weighted_mean(right, weights)


def differences(
    tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance], others: Mapping[str, Sequence[ScoredInstance]]
) -> list[Difference]:
    """This stage minus each compared one over the same questions: mean, 95 % paired bootstrap interval, flips.

    `p` is McNemar's exact p-value where values are 0 or 1, else that of the sign-flip test, over the pairs that could
    be judged; `p_holm` that of Holm over all of this stage's. `lowest` and `highest` are what the mean would be if all
    that could not be judged (`unjudged` pairs) spoke against this stage, or for it. A figure that shows a function of a
    mean has none, nor one by which questions weigh otherwise there than here, as by tokens of another tokenizer.
    """
    figures = {task.name: task.figures for task in tasks}
    table: list[Difference] = []
    for against, theirs in others.items():
        cells = by_cell(theirs)
        for (task, temperature), mine in by_cell(rows).items():
            before = questions_of(cells.get((task, temperature), []))
            pairs = [(before[id_], after) for id_, after in questions_of(mine).items() if id_ in before]
            if pairs and all(_comparable(old, new) for old, new in pairs):
                cell = (task, temperature, against)
                votes = _answered(row for pair in pairs for side in pair for row in side.rows)
                shown = [f for f in figures[task] if _pairs_up(f, pairs) and (votes or not f.votes)]
                table += [_difference(pairs, figure, cell) for figure in shown]
    adjusted = iter(holm([row.p for row in table if row.p is not None]))
    return [row if row.p is None else replace(row, p_holm=next(adjusted)) for row in table]


Pair = tuple[Question, Question]


def _comparable(old: Question, new: Question) -> bool:
    """Whether two models' outputs of a question were scored by the same metrics."""
    return all(row.metrics.keys() >= new.rows[0].metrics.keys() for row in old.rows)


def _pairs_up(figure: Figure, pairs: Sequence[Pair]) -> bool:
    """Whether the difference of a figure's two means is the mean of its differences."""
    if not _defined(figure, [new for _, new in pairs]):
        return False
    weight = figure.weight
    alike = weight is None or all(weight(old.scores()) == weight(new.scores()) for old, new in pairs)
    return figure.shown is None and figure.corpus is None and alike


def _difference(pairs: Sequence[Pair], figure: Figure, cell: tuple[str, float, str]) -> Difference:
    task, temperature, against = cell
    weights = weights_of(figure, [new for _, new in pairs])
    old, new = _sides(pairs, figure)
    interval = paired_difference(old, new, weights)
    judged = [pair for pair in pairs if pair[0].judged and pair[1].judged]
    lowest_old, highest_old = _bounds([before for before, _ in pairs], figure)
    lowest_new, highest_new = _bounds([after for _, after in pairs], figure)
    return Difference(
        task=task,
        metric=figure.name,
        temperature=temperature,
        against=against,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        better=sum(b > a for a, b in zip(old, new, strict=True)),
        worse=sum(b < a for a, b in zip(old, new, strict=True)),
        unjudged=len(pairs) - len(judged),
        lowest=None if lowest_new is None or highest_old is None else lowest_new - highest_old,
        highest=None if highest_new is None or lowest_old is None else highest_new - lowest_old,
        p=(
            paired_p(*_sides(judged, figure), weights_of(figure, [pair[1] for pair in judged]))
            if judged and _defined(figure, [pair[1] for pair in judged])
            else None
        ),
        effect=_effect(pairs, old, new),
    )


def _effect(pairs: Sequence[Pair], old: Sequence[float], new: Sequence[float]) -> float | None:
    """Design effect of groups that are clusters, such as the questions of a passage; subjects are no draws of any."""
    groups = [question.group for _, question in pairs]
    if not 1 < len(pairs) / len(set(groups)) <= CLUSTER:
        return None
    return design_effect([b - a for a, b in zip(old, new, strict=True)], groups)


def _sides(pairs: Sequence[Pair], figure: Figure) -> tuple[list[float], list[float]]:
    return [figure.value(old.scores()) for old, _ in pairs], [figure.value(new.scores()) for _, new in pairs]
