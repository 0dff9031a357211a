"""What rank 0 works with in one attempt at a run."""

from __future__ import annotations

from dataclasses import dataclass

from aftertrain.core.errors import Interrupted
from aftertrain.core.events.diary import EventLog
from aftertrain.core.ranks import Ranks
from aftertrain.core.run.folder import RunFolder
from aftertrain.core.run.job import Job
from aftertrain.core.run.orders import Lead
from aftertrain.core.run.signals import StopSignals


@dataclass(frozen=True)
class Session:
    """One attempt at a run.

    Attributes:
        stopping: whether the user asked to stop.
        ranks: all of the run's.
        lead: tells the others which stages to run.
    """

    job: Job
    folder: RunFolder
    log: EventLog
    stopping: StopSignals
    ranks: Ranks
    lead: Lead

    def stop_if_asked(self) -> None:
        """Between two stages.

        Raises:
            Interrupted: the user asked to stop.
        """
        if self.stopping():
            raise Interrupted("stopped between two stages")
