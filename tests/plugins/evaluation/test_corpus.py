"""Numbers that are made of all questions at once: kept with the outputs, with a bootstrap interval, never as a mean."""

from __future__ import annotations

from collections.abc import Sequence

from aftertrain.core.eval_task import InstanceScore
from aftertrain.core.figures import Figure, Scored
from aftertrain.core.statistics import bootstrap_corpus
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.summary import questions_of


def f1(pairs: Sequence[tuple[int, int]]) -> float:
    """Of the class 1; by hand: 2 TP / (2 TP + FP + FN)."""
    hits = sum(gold == said == 1 for gold, said in pairs)
    return 2 * hits / (2 * hits + sum(gold != said for gold, said in pairs))


def test_the_number_is_of_all_and_its_interval_of_draws() -> None:
    pairs = [(1, 1)] * 30 + [(1, 0)] * 10 + [(0, 1)] * 10 + [(0, 0)] * 50
    interval = bootstrap_corpus(pairs, f1)
    assert (interval.mean, interval.n) == (60 / 80, 100)
    # The delta method for F1 of these counts gives a standard error of 0.0530; 95 % are 1.96 of them to each side.
    assert 0.61 < interval.low < 0.67 < 0.83 < interval.high < 0.88
    assert bootstrap_corpus(pairs, f1) == interval  # the same draws


def test_draws_without_a_number_are_left_out() -> None:
    pairs = [(1, 1), (0, 0), (0, 0), (0, 0)]  # of many draws all are (0, 0): 0 / 0
    interval = bootstrap_corpus(pairs, f1)
    assert (interval.mean, interval.low, interval.high) == (1.0, 1.0, 1.0)


def test_what_it_is_made_of_is_kept_with_the_outputs() -> None:
    def row(id_: str, gold: int, said: int) -> ScoredInstance:
        return ScoredInstance(id_, "t", 0.0, "", "", None, None, "scored", {"same": 1.0}, parts={"f1": [gold, said]})

    questions = questions_of([row("a", 1, 1), row("b", 1, 0)])

    def corpus(scores: Sequence[Sequence[Scored]]) -> float:
        return f1([tuple(score.parts["f1"]) for of_one in scores for score in of_one])  # type: ignore[arg-type]

    figure = Figure("f1", lambda scores: scores[0].metrics["same"], corpus=corpus)
    assert figure.corpus is not None
    assert figure.corpus([question.scores for question in questions.values()]) == 2 / 3
    assert InstanceScore({}).parts == {}
