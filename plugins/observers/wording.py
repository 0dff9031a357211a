"""Events in words, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aftertrain.core.learning.statistics import direction

FIRST = ("nll_per_token", "loss", "reward", "batch_reward", "accuracy", "kl", "validation_loss", "validation_accuracy")
"""Metrics shown first; after them `learning_rate` and `grad_norm` where there is room."""
RATES = ("learning_rate", "grad_norm")
ROOM = 5


def duration(seconds: float) -> str:
    """A duration as a clock.

    >>> duration(75), duration(3_725)
    ('1:15', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def figure(value: float | str) -> str:
    """A number short enough to read; what is not finite comes as text already.

    >>> figure(0.000123456), figure(12.3456), figure(123456.0)
    ('0.000123', '12.3', '123,456')
    """
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def metrics(data: Mapping[str, Any]) -> str:
    """The few figures of a `metrics` event that tell how training goes, and its speed."""
    numbers = {name: value for name, value in data.items() if isinstance(value, int | float | str)}
    words = _first(numbers, (*FIRST, *RATES))
    speed = data.get("timing", {}).get("tokens_per_second")
    return "  ".join([*words, *([f"{figure(speed)} tokens/s"] if speed is not None else [])])


def closing(steps: Sequence[Mapping[str, Any]]) -> str:
    """The same figures over the last steps: one step, often a short one, says little of how a stage ended.

    >>> closing([{"loss": 1.0, "accuracy": 0.5}, {"loss": 2.0}, {"loss": 3.0, "accuracy": 1.0}])
    'loss 2  accuracy 0.75  (mean of the last 3 steps)'
    """
    found: dict[str, list[float]] = {}
    for data in steps:
        for name, value in data.items():
            if isinstance(value, int | float):
                found.setdefault(name, []).append(value)
    words = _first({name: sum(values) / len(values) for name, values in found.items()}, FIRST)
    if len(steps) > 1 and words:
        words.append(f"(mean of the last {len(steps)} steps)")
    return "  ".join(words)


def saved(data: Mapping[str, Any]) -> str:
    """What was checked of a saved folder.

    >>> saved({"kind": "model", "names": 3, "tensors": 2, "rows": 2, "tokens": 11, "difference": 2e-7})
    'saved model checked: 3 names, bits of 2 tensors, 2 rows scored by plain transformers (2e-07 apart)'
    """
    told = f"saved {data['kind']} checked: {data['names']:,} names, bits of {data['tensors']:,} tensors"
    if data.get("rows"):
        return f"{told}, {data['rows']} rows scored by plain transformers ({figure(data['difference'])} apart)"
    return f"{told}; not scored: {data.get('left_out', '')}"


def _first(numbers: Mapping[str, Any], order: Sequence[str]) -> list[str]:
    chosen = [name for word in order for name in numbers if name == word or name.startswith(f"{word}/")]
    return [_worded(name, numbers[name]) for name in chosen[:ROOM]]


def _worded(name: str, value: float | str) -> str:
    if name == "nll_per_token":
        return f"{figure(value)} nats/token"
    return f"{name.replace('_', ' ')} {figure(value)}"


def score(entry: Mapping[str, Any]) -> str:
    """One score with its interval."""
    at = f" at temperature {entry['temperature']:g}" if entry.get("temperature") is not None else ""
    return (
        f"{entry['task']} {entry['metric']}{at}: {entry['mean']:.3f} "
        f"[{entry['low']:.3f}, {entry['high']:.3f}], n = {entry['n']}{_open(entry)}"
    )


def _open(entry: Mapping[str, Any]) -> str:
    """What judging that failed leaves open."""
    if not entry.get("unjudged"):
        return ""
    count = f", {entry['unjudged']} could not be judged"
    if entry.get("lowest") is None:
        return count
    return f"{count}: between {entry['lowest']:.3f} and {entry['highest']:.3f}"


def difference(entry: Mapping[str, Any]) -> str:
    """One paired difference with its interval."""
    at = f" at temperature {entry['temperature']:g}" if entry.get("temperature") is not None else ""
    p = entry.get("p_holm")
    way = direction(entry["mean"], p, entry.get("lowest"), entry.get("highest"))
    sure = f"{'no difference shown' if way == 'none' else f'a {way}'}, {'no p-value' if p is None else p_value(p)}"
    return (
        f"{entry['task']} {entry['metric']}{at} against {entry['against']}: {entry['mean']:+.3f} "
        f"[{entry['low']:+.3f}, {entry['high']:+.3f}] ({sure}{_open(entry)})"
    )


def p_value(p: float) -> str:
    """A p-value, written.

    >>> p_value(0.0004), p_value(0.0312)
    ('p < 0.001', 'p = 0.031')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
