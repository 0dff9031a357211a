"""Taking events into a stage's facts. Unknown events and odd values change nothing; absent keys give empty facts."""

from __future__ import annotations

from collections import Counter
from typing import Any

from aftertrain.core.events import Event
from aftertrain.plugins.report.facts import Difference, Health, Judged, Parent, Sampled, Score, Stage, Values


def note_event(stage: Stage, event: Event) -> None:
    """Take one event of `stage` into its facts; events of unknown names change nothing."""
    data = event.data
    if event.step is not None and event.name == "metrics":
        stage.step = max(stage.step, event.step)
        _note_values(stage, stage.metrics, event.step, data)
        _note_values(stage, stage.timing, event.step, mapping(data.get("timing")))
    elif event.name == "sample":
        stage.samples.append(_sampled(event))
    elif event.name == "verdicts":
        for verifier, outcomes in data.items():
            if verifier != "timing" and isinstance(outcomes, dict):
                counter = stage.verdicts.setdefault(str(verifier), Counter())
                counter.update({str(k): int(v) for k, v in outcomes.items() if isinstance(v, int | float)})
    elif event.name == "dropped":
        reasons = {k: v for k, v in data.items() if isinstance(v, int) and not isinstance(v, bool)}
        stage.dropped.update({str(k): v for k, v in (mapping(data.get("reasons")) or reasons).items()})
        stage.dropped_examples = (*stage.dropped_examples, *map(str, sequence(data.get("examples"))))[:10]
    elif event.name == "progress":
        if data.get("unit") == "steps" and isinstance(data.get("total"), int):
            stage.total = data["total"]
    elif event.name == "rows":
        stage.rows = data
    elif event.name == "skipped":
        stage.warnings.append(f"no update: {data.get('message', data)}")
    elif event.name == "warning":
        stage.warnings.append(str(data.get("message", data)))
    elif event.name == "scores":
        note_scores(stage, data)


def note_scores(stage: Stage, data: dict[str, Any]) -> None:
    """Replace the stage's scores, differences and health by those of a `scores` event or of an artifact's details."""
    stage.scores = [
        Score(stage.name, *_estimate(row), str(row.get("fingerprint", "")), row.get("primary"), *_open(row))
        for row in sequence(data.get("scores"))
        if isinstance(row, dict) and "mean" in row
    ]
    stage.differences = [
        Difference(
            stage.name,
            str(row.get("against", "")),
            *_estimate(row),
            row.get("better"),
            row.get("worse"),
            row.get("p_holm", row.get("p")),
            *_open(row),
        )
        for row in sequence(data.get("differences"))
        if isinstance(row, dict) and "mean" in row
    ]
    stage.health = [
        Health(
            str(row.get("task", "")),
            row.get("temperature"),
            int(row.get("n", 0)),
            int(row.get("truncated", 0)),
            int(row.get("empty", 0)),
            float(row.get("mean_tokens", 0.0)),
        )
        for row in sequence(data.get("health"))
        if isinstance(row, dict)
    ]


def mapping(value: Any) -> dict[str, Any]:
    """`value` if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def parents(inputs: Any) -> tuple[Parent, ...]:
    """Parents from the `inputs` of `stage_started`: role -> stage name, or role -> {stage: …}, or a list of such."""
    if isinstance(inputs, dict):
        rows = [(role, value.get("stage", "") if isinstance(value, dict) else value) for role, value in inputs.items()]
    else:
        rows = [(row.get("role", ""), row.get("stage", "")) for row in sequence(inputs) if isinstance(row, dict)]
    return tuple(Parent(str(role), str(stage)) for role, stage in rows if stage)


def _estimate(row: dict[str, Any]) -> tuple[str, str, float | None, float, float, float, int]:
    temperature = row.get("temperature")
    mean = float(row["mean"])
    return (
        str(row.get("task", "")),
        str(row.get("metric", "")),
        None if temperature is None else float(temperature),
        mean,
        float(row.get("low", mean)),
        float(row.get("high", mean)),
        int(row.get("n", 0)),
    )


def _open(row: dict[str, Any]) -> tuple[int, float | None, float | None]:
    """What could not be judged, and the mean's bounds over it."""
    lowest, highest = (
        float(bound) if isinstance(bound, int | float) else None for bound in (row.get("lowest"), row.get("highest"))
    )
    return int(row.get("unjudged") or 0), lowest, highest


def _note_values(stage: Stage, into: Values, step: int, data: dict[str, Any]) -> None:
    for name, value in data.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            into.setdefault(name, {})[step] = float(value)
        elif value in ("nan", "inf", "-inf"):
            stage.not_finite[name] += 1


def _sampled(event: Event) -> Sampled:
    data = event.data
    reward = data.get("reward")
    return Sampled(
        event.step,
        str(data.get("prompt", "")),
        str(data.get("response", "")),
        float(reward) if isinstance(reward, int | float) else None,
        tuple(_judged(row) for row in sequence(data.get("verdicts")) if isinstance(row, dict)),
    )


def _judged(row: dict[str, Any]) -> Judged:
    value, extracted = row.get("value"), row.get("extracted")
    return Judged(
        str(row.get("verifier", "")),
        str(row.get("outcome", "")),
        float(value) if isinstance(value, int | float) else None,
        None if extracted is None else str(extracted),
        str(row.get("detail", "")),
    )
