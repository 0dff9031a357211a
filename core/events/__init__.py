"""What happens in a run, as types. Each line of `events.jsonl` is an `Entry`: an event, and when and where it was.

A stage tells with `context.emit(Metrics({"loss": 0.3}), step)`. A plugin's own event is a frozen dataclass derived from
`Event`, named after the plugin (`event = "acme/souped"`); a reader that does not know the class gets `Other`.
"""

from __future__ import annotations

from aftertrain.core.events import course, scores, work
from aftertrain.core.events.course import (
    Checkpointed,
    DataCheck,
    Hardware,
    LoadedPlugin,
    Rewind,
    RunDone,
    RunFailed,
    RunStarted,
    StageDone,
    StageReused,
    StageStarted,
    Timing,
    Warned,
)
from aftertrain.core.events.event import Entry, Event, Other, flat
from aftertrain.core.events.scores import Difference, Health, ScoreRow, Scores
from aftertrain.core.events.work import (
    Balance,
    Books,
    Dropped,
    Lengths,
    Metrics,
    Packing,
    Progress,
    RowsTrained,
    Sample,
    SampleVerdict,
    Saved,
    Skipped,
    SourceRows,
    VerdictCounts,
)

EVENTS: tuple[type[Event], ...] = tuple(
    kind
    for module in (course, work, scores)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
)
"""Our own, in the order of the documentation."""

__all__ = [
    "EVENTS",
    "Balance",
    "Books",
    "Checkpointed",
    "DataCheck",
    "Difference",
    "Dropped",
    "Entry",
    "Event",
    "Hardware",
    "Health",
    "Lengths",
    "LoadedPlugin",
    "Metrics",
    "Other",
    "Packing",
    "Progress",
    "Rewind",
    "RowsTrained",
    "RunDone",
    "RunFailed",
    "RunStarted",
    "Sample",
    "SampleVerdict",
    "Saved",
    "ScoreRow",
    "Scores",
    "Skipped",
    "SourceRows",
    "StageDone",
    "StageReused",
    "StageStarted",
    "Timing",
    "VerdictCounts",
    "Warned",
    "flat",
]
