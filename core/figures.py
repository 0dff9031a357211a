"""From the scores of a task's outputs to its numbers: means, means of groups, pass@k, votes.

A number is made in two steps: the outputs of one question become one value, and the values of the questions one number.
Replies to one question are thus never counted as independent of each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from aftertrain.core.records import JSON, UNJUDGED
from aftertrain.core.statistics import pass_at_k


class Scored(Protocol):
    """What an output of a question is worth, such as an `InstanceScore`."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Every metric of the task, by name."""
        ...

    @property
    def extracted(self) -> str | None:
        """The answer that was read, None where there is none."""
        ...

    @property
    def parts(self) -> Mapping[str, JSON]:
        """What figures of a whole corpus are made of, by name."""
        ...


class Judged(Protocol):
    """A score, or a reply, that knows whether there was a verdict."""

    @property
    def outcome(self) -> str:
        """A verdict's outcome."""
        ...


V = TypeVar("V", bound=Judged)

UNKNOWN = "\0unknown"
"""As `extracted`, of a reply that could not be judged and is counted as right, or as wrong: it has an answer. Its
metrics are all 1, or all 0; its `parts` stay."""

Corpus = Callable[[Sequence[Sequence[Scored]]], float]
"""The scores of all questions' outputs to one number."""
Value = Callable[[Sequence[Scored]], float]
"""The scores of one question's outputs to the question's value."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a task.

    Attributes:
        name: under which it is shown.
        value: what the outputs of one question are worth together.
        grouped: the mean of the groups' means (macro), in place of the mean over all questions (micro).
        weight: what a question weighs in the mean, such as its tokens; None where all weigh the same.
        shown: what is shown of the mean, a rising function, such as the exponential of a perplexity.
        share: values lie in [0, 1] and are written in per cent; any number otherwise.
        corpus: the number of all questions together, where it is no mean over them (BLEU, an F-score). `value` is
            then what is shown of a single question, and no difference to another model is tested. Where it is not
            defined (nothing to divide by) it raises `ArithmeticError`, and has no row.
        resamples: of the questions, which the interval of `corpus` is made of.
        rising: `corpus` never falls where a metric of an output rises, so that it lies between what it is if all that
            could not be judged were wrong, and if all were right. Of any other number of a corpus nothing bounds it.
        least: so many of a question's outputs must have a verdict for it to have a value, which is made of these; of
            fewer the question is left out. None takes a question only if all have one.
        votes: it counts the answers that were read, and is left out where scoring reads none (tests of a program).
    """

    name: str
    value: Value
    grouped: bool = False
    weight: Value | None = None
    shown: Callable[[float], float] | None = None
    share: bool = True
    votes: bool = False
    corpus: Corpus | None = None
    resamples: int = 1000
    rising: bool = False
    least: int | None = None


def with_verdict(figure: Figure, scores: Sequence[V]) -> list[V]:
    """Of a question's outputs those that a figure is made of: the ones with a verdict; none where these are too few.

    >>> from aftertrain.core.eval_task import InstanceScore
    >>> right, broken = InstanceScore({"acc": 1.0}), InstanceScore({"acc": 0.0}, outcome="error")
    >>> outputs = [right, broken, right]
    >>> len(with_verdict(mean("acc"), outputs)), len(with_verdict(pass_at("acc", 3), outputs))
    (2, 0)
    """
    judged = [score for score in scores if score.outcome not in UNJUDGED]
    if len(judged) == len(scores):
        return judged
    least = figure.least if figure.corpus is None else None
    return judged if least is not None and len(judged) >= least else []


def mean(metric: str, name: str | None = None, *, share: bool = True) -> Figure:
    """The mean of a metric over a question's outputs."""
    return Figure(
        name or metric, lambda scores: sum(s.metrics[metric] for s in scores) / len(scores), share=share, least=1
    )


def pass_at(metric: str, k: int) -> Figure:
    """Chance that one of `k` replies is right (metric above 0.5), without bias, from a question's n >= k replies.

    Chen et al. (2021), equation 1.
    """
    return Figure(
        f"pass@{k}",
        lambda scores: pass_at_k(len(scores), sum(s.metrics[metric] > 0.5 for s in scores), k),
        least=k,
    )


def best_of(metric: str, k: int) -> Figure:
    """The best of the first `k` replies to each question."""
    return Figure(f"best@{k}", lambda scores: max(score.metrics[metric] for score in scores[:k]), least=k)


def majority(metric: str, k: int) -> Figure:
    """The metric of the answer that most of the first `k` replies give (Wang et al. 2022); of tied ones their mean.

    Replies without an answer have no vote; a question of which none has one is worth 0. Those whose answer is `UNKNOWN`
    vote together, for the answer with most votes of those of their worth: of right ones and wrong ones the most, and
    the least, that could become of them.
    """
    return Figure(f"maj@{k}", lambda scores: _voted(metric, scores[:k]), votes=True, least=k)


def ratio(name: str, metric: str, per: str, *, shown: Callable[[float], float] | None = None) -> Figure:
    """The sum of a metric over the sum of another, over all questions: bits per byte, nats per token."""

    def value(scores: Sequence[Scored]) -> float:
        size = weight(scores)
        return sum(s.metrics[metric] for s in scores) / size if size else 0.0  # of weight 0

    def weight(scores: Sequence[Scored]) -> float:
        return sum(s.metrics[per] for s in scores)

    return Figure(name, value, weight=weight, shown=shown, share=False)


def grouped(figure: Figure) -> Figure:
    """The same as a mean of the groups' means.

    Raises:
        ValueError: questions weigh by something of their own; a group's mean would not be its ratio of sums.
    """
    if figure.weight is not None:
        raise ValueError(f"figure {figure.name!r} weighs its questions and cannot be a mean over groups, too")
    return replace(figure, name=f"{figure.name} (macro)", grouped=True)


def share_of(name: str, metric: str, part: str) -> Figure:
    """The mean of a metric over the questions whose `parts` say true for `part`: refusals of safe prompts."""
    return Figure(name, mean(metric).value, weight=lambda scores: float(all(s.parts[part] for s in scores)), least=1)


def _voted(metric: str, scores: Sequence[Scored]) -> float:
    worth = {score.extracted: score.metrics[metric] for score in reversed(scores)}
    votes = Counter(score.extracted for score in scores if score.extracted is not None)
    if unknown := votes.pop(UNKNOWN, 0):
        alike = [answer for answer in votes if worth[answer] == worth[UNKNOWN]]
        votes[max(alike, key=lambda answer: votes[answer], default=UNKNOWN)] += unknown
    if not votes:
        return 0.0
    most = max(votes.values())
    winners = [worth[answer] for answer, count in votes.items() if count == most]
    return sum(winners) / len(winners)
