"""A process of a run of several, as its launcher sees it, wherever it runs."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path

from aftertrain.core.run.launched import Failure

_POLL = 0.02


class Rank(ABC):
    """One process of the run, as its launcher sees it.

    Attributes:
        number: 0 is the first.
        log: file with what it writes; rank 0 writes to the terminal all the same.
    """

    number: int
    log: Path

    @abstractmethod
    def poll(self) -> int | None:
        """Exit status, negative where a signal ended it; None while it runs."""

    @abstractmethod
    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs. Called in signal handlers."""

    @abstractmethod
    def kill(self) -> None:
        """End it where it stands, without waiting."""

    @abstractmethod
    def tell(self, failure: Failure) -> None:
        """Tell it which rank failed."""

    @abstractmethod
    def failure(self) -> Failure:
        """What became of it, once it has ended."""

    def wait(self, timeout: float) -> int | None:
        """Exit status, as `poll` has it, as soon as there is one; None after so many seconds."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None and time.monotonic() < deadline:
            time.sleep(_POLL)
        return status
