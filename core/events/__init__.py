"""What happens in a run, as types. Each line of `events.jsonl` is an `Entry`: an event, and when and where it was.

A stage tells with `context.emit(Metrics({"loss": 0.3}), step)`. A plugin's own event is a frozen dataclass derived from
`Event`, named after the plugin (`event = "acme/souped"`); a reader that does not know the class gets `Other`.
"""

from __future__ import annotations

from aftertrain.core.events import course, scores, work
from aftertrain.core.events.course import Checkpointed as Checkpointed
from aftertrain.core.events.course import DataCheck as DataCheck
from aftertrain.core.events.course import Hardware as Hardware
from aftertrain.core.events.course import LoadedPlugin as LoadedPlugin
from aftertrain.core.events.course import Rewind as Rewind
from aftertrain.core.events.course import RunDone as RunDone
from aftertrain.core.events.course import RunFailed as RunFailed
from aftertrain.core.events.course import RunStarted as RunStarted
from aftertrain.core.events.course import StageDone as StageDone
from aftertrain.core.events.course import StageReused as StageReused
from aftertrain.core.events.course import StageStarted as StageStarted
from aftertrain.core.events.course import Timing as Timing
from aftertrain.core.events.course import Warned as Warned
from aftertrain.core.events.event import Entry as Entry
from aftertrain.core.events.event import Event as Event
from aftertrain.core.events.event import Other as Other
from aftertrain.core.events.event import flat as flat
from aftertrain.core.events.scores import Contamination as Contamination
from aftertrain.core.events.scores import Difference as Difference
from aftertrain.core.events.scores import Health as Health
from aftertrain.core.events.scores import Missing as Missing
from aftertrain.core.events.scores import ScoreRow as ScoreRow
from aftertrain.core.events.scores import Scores as Scores
from aftertrain.core.events.scores import Speed as Speed
from aftertrain.core.events.work import Alarm as Alarm
from aftertrain.core.events.work import Balance as Balance
from aftertrain.core.events.work import Books as Books
from aftertrain.core.events.work import Dropped as Dropped
from aftertrain.core.events.work import Lengths as Lengths
from aftertrain.core.events.work import Metrics as Metrics
from aftertrain.core.events.work import Packing as Packing
from aftertrain.core.events.work import Progress as Progress
from aftertrain.core.events.work import RowsTrained as RowsTrained
from aftertrain.core.events.work import Sample as Sample
from aftertrain.core.events.work import SampleVerdict as SampleVerdict
from aftertrain.core.events.work import Saved as Saved
from aftertrain.core.events.work import Skipped as Skipped
from aftertrain.core.events.work import SourceRows as SourceRows
from aftertrain.core.events.work import VerdictCounts as VerdictCounts
from aftertrain.core.ground.openings import Opening as Opening

EVENTS: tuple[type[Event], ...] = tuple(
    kind
    for module in (course, work, scores)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
)
"""Our own, in the order of the documentation."""
