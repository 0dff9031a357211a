"""Ctrl-C and SIGTERM: the first asks the stage to save and stop, the second stops at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 1.0
"""Seconds in which a rank takes a second signal for the same key press, from the terminal and again from a launcher."""


class StopSignals:
    """Context in which the two signals set a flag. Outside the main thread it changes nothing.

    Args:
        on_first: called in the signal handler by the first one, to tell the user that it was heard.
        launched: this process has a launcher that passes signals on.
    """

    def __init__(self, on_first: Callable[[], None] = lambda: None, launched: bool = False) -> None:
        self.on_first = on_first
        self.launched = launched
        self._asked_at: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether the user asked to stop."""
        return self._asked_at is not None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self.on_first()
        elif not self.launched or time.monotonic() - self._asked_at >= ECHO:
            raise KeyboardInterrupt
