"""Outputs of a model through a task's own filters and `process_results`, and what kind of number each metric makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aftertrain.core.eval_task import InstanceScore
from aftertrain.core.figures import Figure, Scored, grouped, mean, ratio
from aftertrain.core.records import JSON
from aftertrain.plugins.lm_eval_tasks.asking import Asked, plain

Kind = Literal["mean", "perplexity", "ratio", "bits", "corpus"]
INVALID = "[invalid]"
"""What lm-eval's filters put where they find no answer."""
NO_FILTER = "none"
SHARES = ("acc", "exact_match", "em", "f1", "mc", "pass", "prompt_level", "inst_level", "contains", "quasi")
"""How the names of metrics begin that lie in [0, 1] and are written in per cent."""
SLOW = ("bleu", "chrf", "ter")
"""How the names of metrics begin of which lm-eval, too, draws no more than 100 samples."""


@dataclass(frozen=True)
class Metric:
    """A number that a task makes.

    Attributes:
        name: as it is shown, `acc` or `exact_match,strict-match` where a filter has a name.
        key: lm-eval's, and the filter's.
        kind: how questions become one number; `corpus` is by lm-eval's own function over all of them.
        aggregation: that function.
    """

    name: str
    key: tuple[str, str]
    kind: Kind
    aggregation: Callable[[list[Any]], Any]

    @property
    def stored(self) -> tuple[str, ...]:
        """Names under which an output keeps it."""
        return (f"{self.name}:nats", f"{self.name}:size") if self.kind in ("ratio", "bits") else (self.name,)

    def values(self, item: Any) -> dict[str, float]:
        """What an output keeps of what `process_results` made.

        Raises:
            ValueError, TypeError: it is no number where the kind needs one.
        """
        if self.kind in ("ratio", "bits"):
            logprob, size = item
            return dict(
                zip(
                    self.stored,
                    (-float(logprob) / (math.log(2) if self.kind == "bits" else 1), float(size)),
                    strict=True,
                )
            )
        if self.kind == "corpus":
            return {self.name: _alone(item)}
        value = -float(item) if self.kind == "perplexity" else float(item)
        if not math.isfinite(value):
            raise ValueError(f"{self.name} is {value}")
        return {self.name: value}

    def figure(self) -> Figure:
        """The number over all questions."""
        if self.kind == "mean":
            return mean(self.name, share=self.name.startswith(SHARES))
        if self.kind == "perplexity":
            return Figure(self.name, lambda scores: scores[0].metrics[self.name], shown=_exp, share=False)
        if self.kind in ("ratio", "bits"):
            return ratio(self.name, *self.stored, shown=_exp if self.kind == "ratio" else None)
        draws = 100 if self.name.startswith(SLOW) else 1000
        share = self.name.startswith(SHARES)
        return Figure(
            self.name, lambda scores: scores[0].metrics[self.name], corpus=self._whole, resamples=draws, share=share
        )

    def _whole(self, questions: Sequence[Sequence[Scored]]) -> float:
        items = [_item(scores[0].parts[self.name]) for scores in questions if self.name in scores[0].parts]
        return float(self.aggregation(items)) if items else math.nan


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _alone(item: Any) -> float:
    """Of a single question, for people: a number itself, of a pair whether both are equal."""
    value = plain(item)
    if isinstance(value, list) and len(value) == 2:
        return float(value[0] == value[1])
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _item(part: JSON) -> Any:
    """As lm-eval's functions take it: the outer list was a tuple."""
    return tuple(part) if isinstance(part, list) else part


def results(task: Any, question: Asked, responses: Sequence[Sequence[Any]]) -> tuple[dict[tuple[str, str], Any], Any]:
    """By metric and filter what a question is worth, and what the first filter reads.

    Args:
        responses: to each request, as many as it was repeated.
    """
    from lm_eval.api.instance import Instance

    requests = [
        Instance(request_type=type_, doc=question.doc, arguments=arguments, idx=place, metadata=(question.leaf, 0, 1))
        for place, (type_, arguments) in enumerate(question.requests)
    ]
    for request, of_request in zip(requests, responses, strict=True):
        request.resps = list(of_request)
    task._instances = requests  # where `apply_filters` finds them, as after a run of lm-eval
    task.apply_filters()
    made: dict[tuple[str, str], Any] = {}
    read: Any = None
    for place, name in enumerate(requests[0].filtered_resps):
        filtered = [request.filtered_resps[name] for request in requests]
        read = filtered[0] if place == 0 else read
        for metric, value in task.process_results(question.doc, filtered).items():
            made[metric, name] = value
    return made, read


def metrics_of(task: Any, question: Asked) -> list[Metric]:
    """The numbers of a task, found by scoring a made-up output of a question; by its settings where that fails."""
    made_up: list[list[Any]] = [
        [_made_up(type_, task, question, place)] for place, (type_, _) in enumerate(question.requests)
    ]
    try:
        made, _ = results(task, question, made_up)
    except Exception:  # noqa: BLE001  a task's code may take no made-up output; then its settings name its metrics
        filters = [ensemble.name for ensemble in getattr(task, "_filters", ())] or [NO_FILTER]
        made = {(metric, name): 0.0 for name in filters for metric in task.aggregation()}
    alike = len({name for _, name in made}) == 1
    return [
        Metric(key[0] if key[1] == NO_FILTER or alike else ",".join(key), key, *_kind(task, key[0], value))
        for key, value in made.items()
        if key[0] != "bypass"
    ]


def _made_up(type_: str, task: Any, question: Asked, place: int) -> Any:
    if type_ == "generate_until":
        target = task.doc_to_target(question.doc)
        return str(target[0] if isinstance(target, list) and target else target)
    return -1.0 if type_ == "loglikelihood_rolling" else (-1.0 - place, False)


def _kind(task: Any, metric: str, value: Any) -> tuple[Kind, Callable[[list[Any]], Any]]:
    from lm_eval.api import metrics

    by_function: dict[Any, Kind] = {
        metrics.mean: "mean",
        metrics.perplexity: "perplexity",
        metrics.weighted_perplexity: "ratio",
        metrics.bits_per_byte: "bits",
    }
    aggregation = task.aggregation().get(metric, metrics.mean)
    kind = by_function.get(aggregation, "corpus")
    number = isinstance(plain(value), int | float)
    return ("corpus" if kind in ("mean", "perplexity") and not number else kind), aggregation


def score(
    task: Any, question: Asked, metrics: Sequence[Metric], responses: Sequence[Sequence[Any]], answer: str | None
) -> InstanceScore:
    """What an output is worth; where lm-eval's code fails, an `error`, which is counted and never taken for a 0.

    Args:
        answer: of a choice, the one that the model prefers.
    """
    try:
        made, read = results(task, question, responses)
        values = {name: value for m in metrics for name, value in m.values(made[m.key]).items()}
        parts = {m.name: plain(made[m.key]) for m in metrics if m.kind == "corpus"}
    except KeyError as error:
        return _failed(metrics, f"lm-eval gives this question no {error}")
    except Exception as error:  # noqa: BLE001  the code of a task may raise anything
        return _failed(metrics, f"{type(error).__name__}: {error}")
    if answer is None:
        text = read if isinstance(read, str) else str(plain(read))
        if text == INVALID:
            return InstanceScore(values, None, "unparsable", "no filter finds an answer", parts=parts)
        answer = text
    return InstanceScore(values, answer, parts=parts)


def _failed(metrics: Sequence[Metric], why: str) -> InstanceScore:
    return InstanceScore({name: 0.0 for metric in metrics for name in metric.stored}, None, "error", why)


def figures(metrics: Sequence[Metric], aggregates: Mapping[str, bool], tasks: int) -> list[Figure]:
    """Of each metric its number and, of a group of tasks, the mean of the tasks' numbers.

    Args:
        aggregates: the group's metrics, and whether tasks weigh as their questions; that one comes first.
        tasks: how many there are.
    """
    shown: list[Figure] = []
    for metric in sorted(metrics, key=lambda m: m.key[0] not in aggregates):
        micro = metric.figure()
        if tasks == 1 or metric.kind != "mean":
            shown.append(micro)
        elif aggregates.get(metric.key[0], True):
            shown += [micro, grouped(micro)]
        else:
            shown += [grouped(micro), micro]
    return shown
