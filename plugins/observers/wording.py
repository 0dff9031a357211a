"""Events in words, for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from aftertrain.core.clusters import told
from aftertrain.core.events import Balance, Difference, Metrics, Saved, ScoreRow
from aftertrain.core.ground.wording import at_temperature, counted
from aftertrain.core.loss import TARGETS_PER_UNIT
from aftertrain.core.run.ledger import worded

FIRST = (
    "nll_per_token",
    "loss",
    "reward",
    "batch_reward",
    "accuracy",
    "kl",
    "validation_nll_per_token",
    "validation_loss",
    "validation_accuracy",
)
"""Metrics shown first; after them the learning rate and the gradient's norm where there is room."""
ROOM = 5


def duration(seconds: float) -> str:
    """A duration as a clock.

    >>> duration(75), duration(3_725)
    ('1:15', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def figure(value: float) -> str:
    """A number short enough to read.

    >>> figure(0.000123456), figure(12.3456), figure(123456.0)
    ('0.000123', '12.3', '123,456')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def metrics(event: Metrics) -> str:
    """The few figures of a step that tell how training goes, and its speed.

    >>> summed = {"loss": 104.0, "nll_per_token": 2.08, "targets_per_unit": 50.0, "grad_norm": 60.0}
    >>> metrics(Metrics({**summed, "learning_rate": 1e-5, "grad_norm_per_token": 1.2}))
    '2.08 nats/token  loss 104 per sequence  learning rate 1e-05  grad norm per token 1.2'
    """
    norm = "grad_norm_per_token" if "grad_norm_per_token" in event.values else "grad_norm"
    words = _first(event.values, (*FIRST, "learning_rate", norm))
    speed = event.timing.get("tokens_per_second")
    return "  ".join([*words, *([f"{figure(speed)} tokens/s"] if speed is not None else [])])


def closing(steps: Collection[Metrics]) -> str:
    """The same figures over the last steps: one step, often a short one, says little of how a stage ended.

    >>> steps = {"loss": 1.0, "accuracy": 0.5}, {"loss": 2.0}, {"loss": 3.0, "accuracy": 1.0}
    >>> closing([Metrics(values) for values in steps])
    'loss 2  accuracy 0.75  (mean of the last 3 steps)'
    """
    columns: dict[str, list[float]] = {}
    for step in steps:
        for name, value in step.values.items():
            columns.setdefault(name, []).append(value)
    words = _first({name: sum(column) / len(column) for name, column in columns.items()}, FIRST)
    if len(steps) > 1 and words:
        words.append(f"(mean of the last {len(steps)} steps)")
    return "  ".join(words)


def saved(event: Saved) -> str:
    """What was checked of a saved folder.

    >>> saved(Saved("model", names=3, tensors=2, rows=2, tokens=11, difference=2e-7))
    'saved model checked: 3 names, bits of 2 tensors, 2 rows scored by plain transformers (2e-07 apart)'
    """
    names, tensors, rows = counted(event.names, "name"), counted(event.tensors, "tensor"), counted(event.rows, "row")
    words = f"saved {event.kind} checked: {names}, bits of {tensors}"
    if event.rows and event.difference is not None:
        return f"{words}, {rows} scored by plain transformers ({figure(event.difference)} apart)"
    return f"{words}; not scored: {event.left_out}"


def books(units: Mapping[str, Balance]) -> str:
    """What was owed, and what became of it.

    >>> books({"row": Balance(3, {"learnt": 2, "dropped: overlong": 1}, {"learnt": 9, "context": 4, "cut": 90})})
    'books balance: 3 rows: 2 learnt, 1 dropped: overlong; 103 tokens: 9 learnt, 4 context, 90 cut'
    """
    lines = (worded(unit, balance.owed, balance.states, balance.tokens) for unit, balance in units.items())
    return f"books balance: {' | '.join(lines)}"


def score(row: ScoreRow) -> str:
    """One score with its interval; of one that is withheld its bounds."""
    found = row.interval
    behind = f"n = {row.counted}{_clustered(row)}{_open(row)}"
    if found is None:
        return f"{_cell(row)}: withheld, {behind}"
    return f"{_cell(row)}: {found.mean:.3f} [{found.low:.3f}, {found.high:.3f}], {behind}"


def difference(row: Difference) -> str:
    """One paired difference with its interval."""
    p = row.adjusted
    way = row.direction
    sure = f"{'no difference shown' if way == 'none' else f'a {way}'}, {'no p-value' if p is None else p_value(p)}"
    found = f"{row.mean:+.3f} [{row.low:+.3f}, {row.high:+.3f}] ({sure}{_clustered(row)}{_open(row)})"
    return f"{_cell(row)} against {row.against}: {found}"


def _cell(row: ScoreRow | Difference) -> str:
    return f"{row.task} {row.metric}{at_temperature(row.temperature)}"


def _clustered(row: ScoreRow | Difference) -> str:
    """By what questions are not independent."""
    return "" if row.clusters is None else f", {told(row.clustered_by, row.clusters)}"


def _open(row: ScoreRow | Difference) -> str:
    """What judging that failed leaves open."""
    if not row.unjudged:
        return ""
    left_out = "could not be judged" if isinstance(row, ScoreRow) else "pairs could not be judged and are left out"
    count = f", {row.unjudged} {left_out}"
    if row.lowest is None:
        return f"{count}, and nothing bounds what they leave open"
    return f"{count}: between {row.lowest:.3f} and {row.highest:.3f}"


def _first(numbers: Mapping[str, float], order: Sequence[str]) -> list[str]:
    chosen = [name for word in order for name in numbers if name == word or name.startswith(f"{word}/")]
    return [_worded(name, numbers) for name in chosen[:ROOM]]


def _worded(name: str, numbers: Mapping[str, float]) -> str:
    value = figure(numbers[name])
    if name == "nll_per_token":
        return f"{value} nats/token"
    summed = " per sequence" if name == "loss" and TARGETS_PER_UNIT in numbers else ""
    return f"{name.replace('_', ' ')} {value}{summed}"


def p_value(p: float) -> str:
    """A p-value, written.

    >>> p_value(0.0004), p_value(0.0312)
    ('p < 0.001', 'p = 0.031')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
