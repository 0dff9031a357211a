"""From scored instances to what a reader sees: means with intervals, paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from aftertrain.core.clusters import number_of
from aftertrain.core.eval_task import InstanceScore
from aftertrain.core.events import Difference, Missing, ScoreRow
from aftertrain.core.figures import UNKNOWN, Figure, with_verdict
from aftertrain.core.ground.wording import counted
from aftertrain.core.paired import paired_row, shared_clusters
from aftertrain.core.records import UNJUDGED
from aftertrain.core.statistics import (
    Interval,
    Weights,
    bootstrap_corpus,
    holm,
    mean_interval,
    weighing,
    weighted_mean,
)
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.suite import ReadyTask

Cell = tuple[str, float | None]
"""Task and temperature; log-likelihoods have none."""


def by_cell(rows: Iterable[ScoredInstance]) -> dict[Cell, list[ScoredInstance]]:
    """Rows grouped by task and temperature."""
    grouped: dict[Cell, list[ScoredInstance]] = {}
    for row in rows:
        grouped.setdefault((row.task, row.temperature), []).append(row)
    return grouped


@dataclass(frozen=True)
class Question:
    """What a model made of one question: its replies in order, or its one set of log-likelihoods."""

    group: str
    rows: tuple[ScoredInstance, ...]

    @property
    def cluster(self) -> str:
        """What it shares with other questions."""
        return self.rows[0].cluster

    @cached_property
    def scores(self) -> list[InstanceScore]:
        """Of those of its outputs that have a verdict."""
        return [score_of(row) for row in self.rows if not unjudged(row)]

    def filled(self, worth: float) -> list[InstanceScore]:
        """Of all its outputs, as if what could not be judged were worth so much."""
        return [
            InstanceScore(dict.fromkeys(row.metrics, worth), UNKNOWN, row.outcome, parts=row.parts)
            if unjudged(row)
            else score_of(row)
            for row in self.rows
        ]

    @cached_property
    def asked(self) -> list[InstanceScore]:
        """Of all its outputs as the task gave them, by which a question's weight is known before any verdict."""
        return list(map(score_of, self.rows))

    @property
    def judged(self) -> bool:
        """Whether each of its outputs could be judged."""
        return not any(map(unjudged, self.rows))

    def has(self, figure: Figure) -> bool:
        """Whether enough of its outputs have a verdict for it to have a value."""
        return bool(with_verdict(figure, self.asked))

    def value(self, figure: Figure) -> float:
        """What it is worth by a figure that it has."""
        return figure.value(self.scores)


def score_of(row: ScoredInstance) -> InstanceScore:
    """What an output is worth, as the task said."""
    return InstanceScore(row.metrics, row.extracted, row.outcome, parts=row.parts)


def questions_of(cell: Sequence[ScoredInstance]) -> dict[str, Question]:
    """The rows of a cell by question, in their order."""
    grouped: dict[str, list[ScoredInstance]] = {}
    for row in cell:
        grouped.setdefault(row.id, []).append(row)
    return {id_: Question(rows[0].group, tuple(rows)) for id_, rows in grouped.items()}


def scores(tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance]) -> list[ScoreRow]:
    """One row per task, temperature and figure, the headline first, with its 95 % interval over the questions.

    A figure is made of the questions that have a verdict, `n` of so many (`of`). `unjudged` counts the outputs whose
    judging failed or took too long; `lowest` and `highest` are what the figure would be over all questions if all of
    them were wrong, or right. It is `withheld`, and has no mean, where more of the outputs or of its questions have no
    verdict than the stage's `withhold_above`, where nothing bounds what they leave open, and where they are all of a
    group. A figure that is not defined of these questions (a rate of safe prompts, where there is none) has no row.
    """
    cells = by_cell(rows)
    table: list[ScoreRow] = []
    for task in tasks:
        for temperature in task.temperatures:
            cell = cells[task.name, temperature]
            questions = list(questions_of(cell).values())
            for place, figure in enumerate(task.figures):
                if (figure.votes and not _answered(cell)) or why_undefined(figure, questions) is not None:
                    continue
                judged, of = (
                    [question for question in questions if question.has(figure)],
                    len(_counted(figure, questions)),
                )
                interval = _interval(figure, judged)
                n = 0 if interval is None else interval.n
                clusters = number_of(clusters_of(_counted(figure, judged)))
                lowest, highest = bounds(figure, questions)
                open_ = sum(map(unjudged, cell))
                lost = max(open_ / len(cell), 1 - n / of)
                withheld = (
                    interval is None
                    or lost > task.withhold_above
                    or (open_ > 0 and lowest is None)
                    or (figure.grouped and len(_groups(judged)) < len(_groups(questions)))
                )
                shown = interval is not None and not withheld
                table.append(
                    ScoreRow(
                        task=task.name,
                        metric=figure.name,
                        temperature=temperature,
                        mean=interval.mean if interval is not None and shown else None,
                        low=interval.low if interval is not None and shown else None,
                        high=interval.high if interval is not None and shown else None,
                        n=n,
                        of=of,
                        clusters=clusters,
                        clustered_by=task.task.clustered_by if clusters is not None else "",
                        unjudged=open_,
                        lowest=lowest,
                        highest=highest,
                        primary=place == 0,
                        fingerprint=task.fingerprint,
                        share=figure.share and figure.shown is None and (interval is None or 0 <= interval.mean <= 1),
                        withheld=withheld,
                    )
                )
    return table


def undefined(tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance]) -> list[Missing]:
    """The tasks whose headline is not defined of the questions that were asked, and why."""
    cells = by_cell(rows)
    found = []
    for task in tasks:
        figure, questions = task.figures[0], list(questions_of(cells[task.name, task.temperatures[0]]).values())
        if (why := why_undefined(figure, questions)) is not None:
            asked = counted(len(questions), "question")
            found.append(Missing(task.name, f"{figure.name} is not defined of {asked}: {why}"))
    return found


def why_undefined(figure: Figure, questions: Sequence[Question]) -> str | None:
    """Why a figure is none of these questions, whatever their verdicts are; None where it is one."""
    if not _defined(figure, questions):
        return "no question of those that were asked counts for it"
    every = all(question.judged for question in questions)
    if figure.corpus is not None and (every or figure.rising):
        try:
            figure.corpus([question.filled(0.0) for question in questions])
        except ArithmeticError as error:
            return str(error)
    return None


def _answered(cell: Iterable[ScoredInstance]) -> bool:
    """Whether scoring reads answers from replies: of none that it scored, it reads none at all."""
    answers = [row.extracted for row in cell if row.outcome == "scored"]
    return not answers or any(answer is not None for answer in answers)


def unjudged(row: ScoredInstance) -> bool:
    """Whether the row's score says nothing of its reply."""
    return row.outcome in UNJUDGED


def _interval(figure: Figure, judged: Sequence[Question]) -> Interval | None:
    """A figure of questions that have a verdict, with its interval; None where it is not defined of them."""
    if not judged or not _defined(figure, judged):
        return None
    if figure.corpus is not None:
        try:
            scores = [question.scores for question in judged]
            return bootstrap_corpus(
                scores, figure.corpus, share=figure.share, resamples=figure.resamples, clusters=clusters_of(judged)
            )
        except ArithmeticError:
            return None
    values = [question.value(figure) for question in judged]
    return _shown(figure, mean_interval(values, weights_of(figure, judged), clusters_of(judged)))


def clusters_of(questions: Iterable[Question]) -> list[str]:
    """What each shares with others."""
    return [question.cluster for question in questions]


def _defined(figure: Figure, questions: Sequence[Question]) -> bool:
    return figure.weight is None or any(figure.weight(question.asked) > 0 for question in questions)


def _counted(figure: Figure, questions: Sequence[Question]) -> Sequence[Question]:
    """Questions that a figure is made of, as `mean_interval` counts them: those that weigh nothing are none."""
    if figure.weight is None:
        return questions
    return [questions[place] for place in weighing([figure.weight(question.asked) for question in questions])]


def _groups(questions: Iterable[Question]) -> set[str]:
    return {question.group for question in questions}


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
        return Weights.of_sizes([figure.weight(question.asked) for question in questions])
    return None


def bounds(figure: Figure, questions: Sequence[Question]) -> tuple[float | None, float | None]:
    """A share over all questions if all that could not be judged were wrong, and if all were right.

    None for a figure that nothing bounds: one that is no share, and a number of a corpus that is not `rising`.
    """
    if not figure.share or figure.shown is not None or (figure.corpus is not None and not figure.rising):
        return None, None
    wrong, right = ([question.filled(worth) for question in questions] for worth in (0.0, 1.0))
    if figure.corpus is not None:
        return figure.corpus(wrong), figure.corpus(right)
    weights = weights_of(figure, questions)
    values = [[figure.value(scores) for scores in side] for side in (wrong, right)]
    if not all(0 <= value <= 1 for side in values for value in side):
        return None, None
    return weighted_mean(values[0], weights), weighted_mean(values[1], weights)


def differences(
    tasks: Sequence[ReadyTask], rows: Sequence[ScoredInstance], others: Mapping[str, Sequence[ScoredInstance]]
) -> list[Difference]:
    """This stage minus each compared one over the same questions, with all that a `Difference` tells.

    Of a figure only the pairs count of which both sides have a verdict; `unjudged` are left out. `p_holm` is the
    p-value after Holm's method over all of this stage's.
    `lowest` and `highest` are what the mean would be over all pairs if all that could not be judged spoke against this
    stage, or for it. A figure that shows a function of a mean has no difference, nor one by which questions weigh
    otherwise there than here, as by tokens of another tokenizer, nor one of which no pair has two verdicts, or none of
    a group.
    """
    figures = {task.name: task.figures for task in tasks}
    by = {task.name: task.task.clustered_by for task in tasks}
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
                table += [_difference(pairs, figure, cell, by[task]) for figure in shown]
    adjusted = iter(holm([row.p for row in table if row.p is not None]))
    return [row if row.p is None else replace(row, p_holm=next(adjusted)) for row in table]


Pair = tuple[Question, Question]


def _comparable(old: Question, new: Question) -> bool:
    """Whether two models' outputs of a question were scored by the same metrics."""
    return all(row.metrics.keys() >= new.rows[0].metrics.keys() for row in old.rows)


def _pairs_up(figure: Figure, pairs: Sequence[Pair]) -> bool:
    """Whether the difference of a figure's two means is the mean of its differences, and there is one."""
    judged = _judged(figure, pairs)
    here, there = [new for _, new in pairs], [new for _, new in judged]
    if not judged or not _defined(figure, there) or (figure.grouped and _groups(there) < _groups(here)):
        return False
    weight = figure.weight
    alike = weight is None or all(weight(old.asked) == weight(new.asked) for old, new in pairs)
    return figure.shown is None and figure.corpus is None and alike


def _judged(figure: Figure, pairs: Sequence[Pair]) -> list[Pair]:
    """Those of which both sides have a verdict."""
    return [(old, new) for old, new in pairs if old.has(figure) and new.has(figure)]


def _difference(pairs: Sequence[Pair], figure: Figure, cell: tuple[str, float | None, str], by: str) -> Difference:
    task, temperature, against = cell
    judged = _judged(figure, pairs)
    befores, afters = [before for before, _ in judged], [after for _, after in judged]
    lowest_old, highest_old = bounds(figure, [before for before, _ in pairs])
    lowest_new, highest_new = bounds(figure, [after for _, after in pairs])
    return paired_row(
        (task, figure.name, temperature),
        against,
        ([before.value(figure) for before in befores], [after.value(figure) for after in afters]),
        shared_clusters(clusters_of(befores), clusters_of(afters)),
        by=by,
        weights=weights_of(figure, afters),
        unjudged=len(pairs) - len(judged),
        bounds=(
            None if lowest_new is None or highest_old is None else lowest_new - highest_old,
            None if highest_new is None or lowest_old is None else highest_new - lowest_old,
        ),
    )
