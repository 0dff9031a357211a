"""Plain lines, for a log file or a pipe."""

from __future__ import annotations

import sys

from aftertrain.core.ground.cleaning import printable
from aftertrain.plugins.observers.progress import Progress
from aftertrain.plugins.observers.wording import duration


class PlainView:
    """One line per thing told; progress at most every so many seconds, and at the end of a stage's count."""

    def __init__(self, every_seconds: float) -> None:
        self.every = every_seconds
        self.last: dict[str, float] = {}

    def line(self, text: str, style: str = "") -> None:
        """Write a line at once; what its lines beyond the first say is indented, so that none passes for another."""
        shown = printable(text, getattr(sys.stdout, "encoding", None)).replace("\n", "\n    ")
        sys.stdout.write(shown + "\n")
        sys.stdout.flush()

    def progress(self, stage: str, progress: Progress, *lines: str) -> None:
        """Write where the stage is, if it is time: on one line, or several figures' lines below it."""
        if stage not in self.last:
            self.last[stage] = progress.started
        if progress.now - self.last[stage] < self.every:
            return
        self.last[stage] = progress.now
        of = f"/{progress.total}" if progress.total else ""
        left = f"  {duration(progress.left)} left" if progress.left is not None else ""
        place = f"{stage}: {progress.done}{of} {progress.unit}"
        if len(lines) > 1:
            self.line("\n".join((f"{place}{left}", *lines)))
        else:
            self.line(f"{place}  {''.join(lines)}{left}".rstrip())

    def finish(self, stage: str) -> None:
        """Nothing is drawn in place."""
        self.last.pop(stage, None)

    def close(self) -> None:
        """Nothing to restore."""
