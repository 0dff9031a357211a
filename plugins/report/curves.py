"""Which curves a stage gets: a title, a unit and a place for every metric it recorded, known or not."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import itemgetter

from aftertrain.core.loss import TARGETS_PER_UNIT
from aftertrain.plugins.report.chart import LineChart, Series, line_chart, stacked_chart
from aftertrain.plugins.report.facts import Stage

PARTS = ("generate", "verify", "score", "update", "publish", "sync")
"""Activities that a step's time is split into, in the order in which they are stacked."""

MOST_CHARTS = 24
LINES = 6
"""Lines of one chart."""


@dataclass(frozen=True, slots=True)
class _Look:
    """How a metric is shown. `family`: `course` first, then `optimizer`; anything unknown is `other`."""

    pattern: str
    title: str
    unit: str
    family: str
    from_zero: bool = False


_LOOKS = (
    _Look(r"(reward|reward_mean|rewards?/mean)", "Reward", "", "course"),
    _Look(r"(accuracy|verified|verified_accuracy|correct|solved)", "Accuracy", "%", "course", True),
    _Look(r"validation_accuracy", "Verified as right, held out", "%", "course", True),
    _Look(r"nll_per_token", "Loss per token", "nats", "course"),
    _Look(r"loss", "Loss", "", "course"),
    _Look(r"(kl|kl[/_]mean|mean_kl|reference_kl)", "KL from the reference model", "nats", "course"),
    _Look(r"(rewards?|scores?|logps|logprobs?)[/_](chosen|rejected)", "", "", "course"),
    _Look(r"(rewards?[/_])?margins?", "", "", "course"),
    _Look(r"((policy|sampled)[/_])?entropy", "Entropy", "nats", "course", True),
    _Look(r"(clip_fraction|clipfrac)", "Clip fraction", "%", "course", True),
    _Look(r"logprob_difference", "Generator and trainer apart", "nats a token", "course", True),
    _Look(r"effective_samples", "Effective samples", "%", "course", True),
    _Look(r"((response_)?lengths?(/mean)?|completion_length)", "Length of a reply", "tokens", "course", True),
    _Look(r"finished_rate", "Replies that ended by themselves", "%", "course", True),
    _Look(r"constant_groups", "Groups of one reward", "%", "course", True),
    _Look(r"reward/.+", "Reward by part", "", "course"),
    _Look(r"accuracy/.+", "Verified as right, by source", "%", "course", True),
    _Look(r"source_reward/.+", "Reward by source", "", "course"),
    _Look(r"logprob_difference_max", "Generator and trainer apart at one token", "nats", "other", True),
    _Look(r"(.*[/_])?grad_norm_per_token", "", "", "optimizer", True),
    _Look(r"(.*[/_])?grad_norm", "", "", "optimizer", True),
    _Look(r"(.*[/_])?learning_rate|lr", "", "", "optimizer", True),
    _Look(r"tokens", "Tokens in a step", "tokens", "optimizer", True),
    _Look(r"(?P<of>\w+)[/_]loss", "{} loss", "", "other"),
    _Look(r"(.*[/_])?(\w*_)?kl([/_].*)?", "", "nats", "other"),
    _Look(r"(.*[/_])?(\w*accuracy|\w*accuracies|\w*fraction|\w*clipfrac|\w*_rate|\w*_share)", "", "%", "other", True),
    _Look(r"(.*[/_])?\w*tokens", "", "tokens", "other", True),
)
"""Tried in this order, which is also that of the charts. What nothing matches is drawn among the others."""


_FAMILY = re.compile(r"^(reward|accuracy|source_reward)/.+")


@dataclass(frozen=True, slots=True)
class Curves:
    """A stage's charts by family, and all its metrics, of which some may be undrawn."""

    course: list[LineChart]
    speed: list[LineChart]
    optimizer: list[LineChart]
    other: list[LineChart]
    series: list[Series]
    undrawn: int


def curves(stage: Stage) -> Curves:
    """All charts of a stage; at most MOST_CHARTS, the rest are only in the table."""
    families: dict[str, list[tuple[int, LineChart]]] = {"course": [], "optimizer": [], "other": []}
    for names in _together(name for name in stage.metrics if not _an_end(name, stage)):
        drawn = [series for name in names if (series := stage.series(name, label=_label(name, names)))]
        if not drawn:
            continue
        place, look = _look(names[0], drawn)
        single = _titles(stage).get(names[0], look.title)
        title = single if len(names) == 1 else look.title.replace("chosen", "chosen and rejected")
        family = "other" if names[0] != "loss" and _same(drawn[0], stage.series("loss")) else look.family
        families[family].append((place, line_chart(title, look.unit, drawn, from_zero=look.from_zero)))
    course, optimizer, other = (
        [chart for _, chart in sorted(charts, key=itemgetter(0))] for charts in families.values()
    )
    speed = _speed(stage)
    room = max(0, MOST_CHARTS - len(speed) - len(optimizer))
    shown = course[:room]
    rest = other[: room - len(shown)]
    every = [series for name in stage.metrics if (series := stage.series(name))]
    return Curves(shown, speed, optimizer, rest, every, len(course) - len(shown) + len(other) - len(rest))


def _an_end(name: str, stage: Stage) -> bool:
    """Whether a metric is the end of another's interval, which is drawn around that."""
    whole, _, end = name.rpartition("_")
    return end in ("low", "high") and (series := stage.series(whole)) is not None and bool(series.interval)


def _same(first: Series, second: Series | None) -> bool:
    """Whether two metrics are one quantity under two names, up to rounding."""
    return (
        second is not None
        and first.steps == second.steps
        and all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(first.values, second.values, strict=True))
    )


def _look(name: str, series: Iterable[Series]) -> tuple[int, _Look]:
    """Place among the charts and look of a metric, its title filled in."""
    values = [value for curve in series for value in curve.values]
    for place, look in enumerate(_LOOKS):
        match = re.fullmatch(look.pattern, name.lower())
        if match is None:
            continue
        if look.unit == "%" and not all(0 <= value <= 1 for value in values):
            continue
        whose = next((text for text in match.groupdict().values() if text), "")
        title = look.title.format(_words(whose)) if look.title else _words(name)
        return place, replace(look, title=title, from_zero=look.from_zero and min(values) >= 0)
    return len(_LOOKS), _Look("", _words(name), "", "other")


def _titles(stage: Stage) -> dict[str, str]:
    """Titles that depend on the kind of stage."""
    if stage.verdicts:
        return dict.fromkeys(("accuracy", "verified", "correct"), "Verified as right")
    if TARGETS_PER_UNIT in stage.metrics:
        return {"loss": "Loss per sequence"}
    pairs = any("rejected" in name for name in stage.metrics)
    return {"accuracy": "Chosen scored above rejected"} if pairs else {}


def _together(names: Iterable[str]) -> list[list[str]]:
    """Names grouped: those that differ only in `chosen` and `rejected`, or in a part or source, share a chart."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"chosen|rejected", "*", _FAMILY.sub(r"\1/*", name)), []).append(name)
    return [group[start : start + LINES] for group in groups.values() for start in range(0, len(group), LINES)]


def _label(name: str, together: list[str]) -> str:
    if _FAMILY.match(name):
        return name.partition("/")[2]
    side = re.search(r"chosen|rejected", name)
    return side[0] if len(together) > 1 and side else _words(name)


def _words(name: str) -> str:
    text = re.sub(r"[_.]+", " ", name.replace("/", " · ")).strip()
    text = re.sub(r"\bkl\b", "KL", text)
    text = re.sub(r"\b(logps|logprobs?)\b", "log-probability", text)
    return text[:1].upper() + text[1:]


def _speed(stage: Stage) -> list[LineChart]:
    charts = []
    speed = stage.series("tokens_per_second", timing=True, label="Throughput")
    if speed:
        charts.append(line_chart("Throughput", "tokens/s", [speed], from_zero=True))
    parts = [series for name in PARTS if (series := stage.series(name, timing=True))]
    whole = stage.series("seconds", timing=True, label="Time of a step")
    if len(parts) > 1 and len({series.steps for series in parts}) == 1:
        charts.append(stacked_chart("Time of a step, by activity", "s", parts))
    elif whole:
        charts.append(line_chart("Time of a step", "s", [whole], from_zero=True))
    return charts
