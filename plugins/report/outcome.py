"""What the scores say: series over the stages, paired differences, and one plain sentence made of the figures.

A series is one task, metric and temperature over all evaluations that share the task's fingerprint. The comparison of a
series' first and last evaluation is computed here from their instances, as the evaluations do (`core.paired`), when no
evaluation recorded it; the page says which.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from aftertrain.core.paired import paired_row, shared_clusters
from aftertrain.core.statistics import direction, holm
from aftertrain.plugins.report.facts import Difference, Run, Score
from aftertrain.plugins.report.instances import Instances
from aftertrain.plugins.report.numbers import SPACE, count, number, percent, signed

_NOT_A_SHARE = re.compile(r"bits|loss|perplexity|ppl|nll|logprob|length|tokens|entropy")


@dataclass(frozen=True, slots=True)
class ScoreSeries:
    """Scores of one task, metric and temperature, in the order of the stages.

    Attributes:
        likelihood: log-likelihoods of choices were compared, nothing was sampled.
    """

    task: str
    metric: str
    temperature: float | None
    scores: tuple[Score, ...]
    likelihood: bool = False

    @property
    def share(self) -> bool:
        """Whether the values are fractions, written in per cent; by the looks of them where no run says."""
        said = [score.share for score in self.scores if score.share is not None]
        if said:
            return all(said)
        found = [score.interval for score in self.scores]
        inside = all(0 <= edge <= 1 for each in found if each for edge in (each.mean, each.low, each.high))
        return inside and not _NOT_A_SHARE.search(self.metric)

    @property
    def mixed(self) -> bool:
        """Whether fingerprints differ: then the evaluations do not measure the same thing."""
        return len({score.fingerprint for score in self.scores if score.fingerprint}) > 1

    @property
    def condition(self) -> str:
        """How replies were drawn, in words; empty when that is not known."""
        if self.likelihood:
            return "by log-likelihood"
        if self.temperature is None:
            return ""
        return "greedy" if self.temperature == 0 else f"temperature {self.temperature:g}"

    def write(self, value: float) -> str:
        """A score, written."""
        return percent(value) if self.share else number(value)

    def headline(self, score: Score) -> str:
        """A score, written; of one that is withheld what it lies between."""
        if score.interval is not None:
            return self.write(score.interval.mean)
        if score.lowest is None or score.highest is None:
            return "withheld"
        return f"withheld ({self.interval(score.lowest, score.highest)})"

    def interval(self, low: float, high: float) -> str:
        """An interval, written without repeating the unit."""
        if self.share:
            return f"{100 * low:.1f} to {100 * high:.1f}"
        return f"{number(low)} to {number(high)}"

    def write_difference(self, value: float) -> str:
        """A difference with its sign: percentage points for shares."""
        return f"{signed(100 * value)}{SPACE}points" if self.share else signed(value, 3)

    def difference_interval(self, low: float, high: float) -> str:
        """A difference's interval, written without repeating the unit."""
        return (
            f"{signed(100 * low)} to {signed(100 * high)}" if self.share else f"{signed(low, 3)} to {signed(high, 3)}"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired difference as shown. `computed` is true when this report computed it from the instances."""

    difference: Difference
    computed: bool = False

    @property
    def direction(self) -> str:
        """`rise`, `fall`, or `none` where the adjusted p-value, or what could not be judged, leaves it open."""
        return self.difference.direction

    @property
    def verdict(self) -> str:
        """In words whether a difference is shown, and what else could decide it."""
        d = self.difference
        words = "no difference shown" if self.direction == "none" else f"a {self.direction}"
        if d.adjusted is None:
            words += " (no p-value)"
        if self.direction == "none" and direction(d.mean, d.adjusted) != "none":
            lost = f"the {count(d.unjudged)}" if d.unjudged else "replies"
            words += f": {lost} that could not be judged may decide it"
        return words


def score_series(scores: Sequence[Score], instances: Instances) -> list[ScoreSeries]:
    """Series in order of first appearance."""
    groups: dict[tuple[str, str, float | None], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.task, score.metric, score.temperature), []).append(score)
    return [
        ScoreSeries(*key, tuple(members), instances.likelihood(members[0].stage, key[0]))
        for key, members in groups.items()
    ]


def main_series(series: Sequence[ScoreSeries]) -> list[ScoreSeries]:
    """Of each task the series of its primary metric, or of its first one: chosen by name, never by result."""
    first: dict[str, str] = {}
    for curve in sorted(series, key=lambda curve: not curve.scores[0].primary):
        first.setdefault(curve.task, curve.metric)
    return [curve for curve in series if first[curve.task] == curve.metric]


def all_comparisons(
    run: Run, shown: Sequence[ScoreSeries], instances: Instances
) -> dict[ScoreSeries, list[Comparison]]:
    """The comparisons of each series; p-values computed here are adjusted by Holm's method over all that are."""
    by_series = {series: comparisons(run, series, instances) for series in shown}
    computed = [c.difference for group in by_series.values() for c in group if c.computed]
    adjusted = iter(holm([difference.p for difference in computed if difference.p is not None]))

    def corrected(comparison: Comparison) -> Comparison:
        if not comparison.computed or comparison.difference.p is None:
            return comparison
        return replace(comparison, difference=replace(comparison.difference, p_holm=next(adjusted)))

    return {series: [corrected(comparison) for comparison in group] for series, group in by_series.items()}


def comparisons(run: Run, series: ScoreSeries, instances: Instances) -> list[Comparison]:
    """Recorded paired differences of a series, then first against last evaluation if nobody recorded it."""
    same = (series.task, series.metric, series.temperature)
    recorded = [Comparison(d) for d in run.differences if (d.task, d.metric, d.temperature) == same]
    if overall(series, recorded) is not None or (difference := _computed(series, instances)) is None:
        return recorded
    return [*recorded, Comparison(difference, computed=True)]


def overall(series: ScoreSeries, compared: Sequence[Comparison]) -> Comparison | None:
    """The comparison of a series' last evaluation with its first, if there is one."""
    ends = series.scores[-1].stage, series.scores[0].stage
    return next((c for c in compared if (c.difference.stage, c.difference.against) == ends), None)


def model_of(run: Run, evaluation: str) -> str:
    """Name of the model that an evaluation judged: the stage that made it, or `base`."""
    stage = run.stage(evaluation)
    return stage.source if stage is not None else evaluation


def sentence(run: Run, series: Sequence[ScoreSeries], compared: dict[ScoreSeries, list[Comparison]]) -> str:
    """The outcome in plain words: where the first task's main metric began and where it ended, per condition."""
    shown = _first_task(series)
    if not shown:
        return "No evaluation has finished, so there is no score to report."
    first = shown[0]
    metric = first.metric.replace("_", " ")
    if len(first.scores) < 2:
        score = first.scores[0]
        means = _and([curve.headline(curve.scores[0]) + _in(curve) for curve in shown])
        return (
            f"{model_of(run, score.stage)} has {metric} {means} on {first.task} (n = {score.n}). "
            "There is no second evaluation to compare it with."
        )
    start, end = model_of(run, first.scores[0].stage), model_of(run, first.scores[-1].stage)
    moved = [
        f"{_verb(curve, compared[curve])} from {curve.headline(curve.scores[0])} "
        f"to {curve.headline(curve.scores[-1])}{_in(curve)}"
        for curve in shown
        if len(curve.scores) > 1
    ]
    verb = _verb(first, compared[first])
    if all(text.startswith(verb) for text in moved):
        moved = [moved[0], *(text.removeprefix(verb + " ") for text in moved[1:])]
    return f"From {start} to {end}, {metric} on {first.task} {_and(moved)}."


def steps(run: Run, series: Sequence[ScoreSeries], compared: dict[ScoreSeries, list[Comparison]]) -> str:
    """In words what each recorded comparison of the first task showed, in the order of the stages."""
    by_pair: dict[tuple[str, str], list[tuple[ScoreSeries, Comparison]]] = {}
    for curve in _first_task(series):
        for comparison in compared[curve]:
            if not comparison.computed:
                pair = model_of(run, comparison.difference.stage), model_of(run, comparison.difference.against)
                by_pair.setdefault(pair, []).append((curve, comparison))
    steps = [f"{after} against {before}: {_worded(pairs)}" for (after, before), pairs in by_pair.items()]
    return f"Stage by stage, {'; '.join(steps)}." if steps else ""


def _first_task(series: Sequence[ScoreSeries]) -> list[ScoreSeries]:
    return [curve for curve in series if curve.task == series[0].task and not curve.mixed]


def _worded(pairs: Sequence[tuple[ScoreSeries, Comparison]]) -> str:
    none = "no difference shown"
    if all(compared.direction == "none" for _, compared in pairs):
        return none
    differences = [
        none if compared.direction == "none" else series.write_difference(compared.difference.mean)
        for series, compared in pairs
    ]
    return _and([f"{words}{_in(series)}" for words, (series, _) in zip(differences, pairs, strict=True)])


def _verb(series: ScoreSeries, comparisons: Sequence[Comparison]) -> str:
    first, last = series.scores[0].interval, series.scores[-1].interval
    if first is None or last is None:
        return "went"
    if first.mean == last.mean:
        return "stayed the same,"
    whole = overall(series, comparisons)
    if whole is None or whole.difference.adjusted is None:
        return "went"
    if whole.direction == "none":
        return "did not measurably change,"
    return "rose" if last.mean > first.mean else "fell"


def _computed(series: ScoreSeries, instances: Instances) -> Difference | None:
    if len(series.scores) < 2 or series.mixed:
        return None
    first, last = series.scores[0], series.scores[-1]
    before, after = (
        instances.values(score.stage, series.task, series.metric, series.temperature) for score in (first, last)
    )
    if not before or before.keys() != after.keys():
        return None
    pairs = {key: (old, new) for key, old in before.items() if old is not None and (new := after[key]) is not None}
    if not pairs:
        return None
    named = [instances.clusters(score.stage, series.task, series.temperature) for score in (first, last)]
    there, here = ([by_id[key] for key in pairs] for by_id in named)
    found = paired_row(
        (series.task, series.metric, series.temperature),
        first.stage,
        ([old for old, _ in pairs.values()], [new for _, new in pairs.values()]),
        shared_clusters(there, here),
        by=last.clustered_by or first.clustered_by,
        unjudged=len(before) - len(pairs),
        bounds=(
            None if first.highest is None or last.lowest is None else last.lowest - first.highest,
            None if first.lowest is None or last.highest is None else last.highest - first.lowest,
        ),
    )
    return Difference(**asdict(found), stage=last.stage)


def _in(series: ScoreSeries) -> str:
    if not series.condition:
        return ""
    return f" at {series.condition}" if series.condition.startswith("temperature") else f" {series.condition}"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
