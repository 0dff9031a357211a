"""Taking events into a stage's facts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aftertrain.core import events
from aftertrain.plugins.report.facts import Difference, Parent, Score, Stage, Values


def note_event(stage: Stage, entry: events.Entry) -> None:  # noqa: PLR0912  a case for each event
    """Take one event of `stage` into its facts."""
    match entry.event:
        case events.StageStarted() as started:
            stage.status, stage.started = "unfinished", entry.time
            stage.hash, stage.use = started.hash or stage.hash, started.use
            stage.parents = parents(started.inputs) or stage.parents
            stage.why = started.why
        case events.StageReused(hash=hash_, artifact=artifact):
            stage.status, stage.hash, stage.artifact = "reused", hash_, artifact or stage.artifact
        case events.StageDone(artifact=artifact, timing=timing):
            stage.status, stage.artifact = "done", artifact or stage.artifact
            if stage.started is not None:
                stage.seconds = timing.seconds if timing else entry.time - stage.started
        case events.Metrics(values=values, timing=timing) if entry.step is not None:
            stage.step = max(stage.step, entry.step)
            _note_values(stage, stage.metrics, entry.step, values)
            _note_values(stage, stage.timing, entry.step, timing)
        case events.Sample() as sample:
            stage.samples.append((entry.step, sample))
        case events.Alarm() as alarm:
            stage.alarms.append((entry.step, alarm))
        case events.VerdictCounts(counts=counts):
            for verifier, outcomes in counts.items():
                stage.verdicts.setdefault(verifier, Counter()).update(outcomes)
        case events.Dropped(counts=reasons, examples=examples):
            stage.dropped.update(reasons)
            stage.dropped_examples = (*stage.dropped_examples, *examples)[:10]
        case events.Books(units=units):
            stage.books = dict(units)
        case events.Progress(total=total, unit="steps") if total is not None:
            stage.total = total
        case events.RowsTrained() as rows:
            stage.rows = rows
        case events.Skipped(message=message):
            stage.warnings.append(f"no update: {message}")
        case events.Warned(message=message):
            stage.warnings.append(message)
        case events.Scores() as scores:
            note_scores(stage, scores)


def note_scores(stage: Stage, scores: events.Scores) -> None:
    """Replace the stage's scores, differences, health, and what is missing or was opened."""
    stage.scores = [Score(**asdict(row), stage=stage.name) for row in scores.scores]
    stage.differences = [Difference(**asdict(row), stage=stage.name) for row in scores.differences]
    stage.health = list(scores.health)
    stage.speeds = list(scores.timing)
    stage.missing, stage.openings = list(scores.missing), list(scores.openings)
    stage.contamination = list(scores.contamination)


def parents(inputs: Mapping[str, str]) -> tuple[Parent, ...]:
    """Parents from names by role."""
    return tuple(Parent(role, stage) for role, stage in inputs.items() if stage)


def mapping(value: Any) -> dict[str, Any]:
    """`value` if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def _note_values(stage: Stage, into: Values, step: int, values: Mapping[str, float]) -> None:
    for name, value in values.items():
        if math.isfinite(value):
            into.setdefault(name, {})[step] = value
        else:
            stage.not_finite[name] += 1
