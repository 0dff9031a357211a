"""Outcome rates of verifiers, per stage: how many replies could be judged, and what became of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from aftertrain.plugins.report.facts import Stage
from aftertrain.plugins.report.instances import Instances

KNOWN = ("scored", "unparsable", "timeout", "error", "abstained")


@dataclass(frozen=True, slots=True)
class Share:
    """One outcome: its count, its share, and where its bar starts, in per cent."""

    outcome: str
    count: int
    fraction: float
    start: float
    tone: str


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """One verifier in one stage."""

    stage: str
    verifier: str
    n: int
    shares: tuple[Share, ...]


def outcome_rows(stages: Sequence[Stage], instances: Instances) -> list[OutcomeRow]:
    """Rows of training stages from their events; of evaluations from their replies, which know the temperature."""
    rows = []
    for stage in stages:
        sampled = {
            place(task, temperature): counts
            for (task, temperature), counts in instances.outcomes(stage.name).items()
            if not instances.likelihood(stage.name, task)
        }
        by_verifier = sampled or stage.verdicts
        rows += [_row(stage.name, name, counts) for name, counts in by_verifier.items() if counts.total()]
    return rows


def place(task: str, temperature: float | None) -> str:
    """A task and how its replies were drawn, in words."""
    if temperature is None:
        return task
    return f"{task}, {'greedy' if temperature == 0 else f'temperature {temperature:g}'}"


def _row(stage: str, verifier: str, counts: Counter[str]) -> OutcomeRow:
    total = counts.total()
    shares, start = [], 0.0
    for outcome in [*KNOWN, *(other for other in counts if other not in KNOWN)]:
        fraction = counts[outcome] / total
        tone = outcome if outcome in KNOWN else "error"
        shares.append(Share(outcome, counts[outcome], fraction, round(100 * start, 3), tone))
        start += fraction
    return OutcomeRow(stage, verifier, total, tuple(shares))
