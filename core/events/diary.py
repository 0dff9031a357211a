"""The run's diary: `events.jsonl`, append-only; everything else can be redrawn from it.

Each line carries the attempt (how often the run was started) and, inside a stage, its step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from aftertrain.core.errors import RunError
from aftertrain.core.events import EVENTS, Entry, Event, Other
from aftertrain.core.events.lines import entries, event_of
from aftertrain.core.ground.cleaning import clean, json_text, plain
from aftertrain.core.ground.redaction import look_again

_BLOCK = 1 << 16
_OWN = {kind.event: kind for kind in EVENTS}


class EventLog:
    """Appends events to a file, then hands each to `listener`.

    Attributes:
        damage: what was said of lines that are no events; they are left where they are and do not count.

    Raises:
        RunError: the file cannot be opened.
    """

    def __init__(self, path: Path, listener: Callable[[Entry], None] | None = None) -> None:
        look_again()
        self.path = path
        self.listener = listener
        self.damage: list[str] = []
        try:
            earlier = entries(path, self.damage.append) if path.exists() else ()
            self.attempt = 1 + max((entry.attempt for entry in earlier), default=0)
            _close_torn_line(path)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise RunError(f"{path}: cannot write events: {error.strerror or error}") from error

    def emit(self, event: Event, stage: str = "", step: int | None = None) -> Entry:
        """Write one event to the operating system, so that it outlives this process.

        Whatever its fields hold can be written: they become plain (`core.ground.cleaning`), for the listener too.

        Raises:
            RunError: the disk is full or the folder unwritable; the file ends with the event before.
            TypeError: it is no event, or its class takes a name of our own.
        """
        name = clean(_name_of(event))
        facts = plain(event.facts())
        plain_event = Other(name, facts) if isinstance(event, Other) else event_of(type(event), facts)
        entry = Entry(plain_event, clean(stage), step, self.attempt, time.time())
        row = {"name": name, "stage": entry.stage, "step": step, "data": facts, "attempt": entry.attempt}
        line = f"{json_text({**row, 'time': entry.time})}\n".encode()
        start = self._file.tell()
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            self._file.truncate(start)
            raise RunError(f"{self.path}: cannot write events: {error.strerror or error}") from error
        if self.listener is not None:
            self.listener(entry)
        return entry

    def sync(self) -> None:
        """Force the events to the disk: before a checkpoint that will rely on them is committed.

        Raises:
            RunError: the disk is full or broken.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunError(f"{self.path}: cannot write events: {error.strerror or error}") from error

    def close(self) -> None:
        """Force to the disk and close."""
        try:
            self.sync()
        finally:
            self._file.close()


def _name_of(event: Event) -> str:
    if not isinstance(event, Event):
        raise TypeError(
            f"emit was given {event!r}, which is no event; write emit(Metrics({{'loss': 0.3}}), step), or derive a "
            "dataclass of your own from aftertrain.core.events.Event"
        )
    if isinstance(event, Other):
        return event.name
    if _OWN.get(event.event, type(event)) is not type(event):
        raise TypeError(f"{type(event).__qualname__}: the event {event.event!r} is aftertrain's; name it plugin/name")
    return event.event


def _close_torn_line(path: Path) -> None:
    """Cut a line that a killed process left half written, so that the next event starts on a line of its own."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = place = file.seek(0, os.SEEK_END)
        while place:
            place = max(0, place - _BLOCK)
            file.seek(place)
            newline = file.read(min(_BLOCK, end - place)).rfind(b"\n")
            if newline >= 0:
                file.truncate(place + newline + 1)
                return
        file.truncate(0)
