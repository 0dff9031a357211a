"""The run's diary: `events.jsonl`, append-only; everything else can be redrawn from it.

Each line carries the attempt (how often the run was started) and, inside a stage, its step. A resume appends
`rewind(step)`; `read_events` drops what it supersedes, and what belongs to a stage under settings or code it no longer
has. A torn last line is tolerated, and a line that is no event is told and passed over.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aftertrain.core.errors import RunError
from aftertrain.core.ground.cleaning import clean, json_text, plain
from aftertrain.core.ground.reading import decode, parse_json, read_lines, typed
from aftertrain.core.ground.redaction import look_again

log = logging.getLogger(__name__)
TOLD = 3
"""Damaged lines of a file that are told one by one."""
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        name: `run_started`, `data_check`, `stage_started`, `stage_reused`, `metrics`, `sample`, `progress`,
            `checkpoint`, `rewind`, `warning`, `stage_done`, `run_done`, `run_failed`; of training stages also `rows`
            (what they train on), `dropped` (rows left out or cut, by reason), `skipped` (a step without an update) and
            `saved` (what was checked of the folder that they leave, see `core.learning.saved.Saved`).
        stage: the stage's name, empty for events of the whole run.
        step: optimizer or online step that the event belongs to (counted from 1), None outside steps.
        data: JSON facts. Clocks and speeds live under the key `timing`, so that comparisons can leave them out.
        attempt: counted from 1.
        time: seconds since the epoch.
    """

    name: str
    stage: str = ""
    step: int | None = None
    data: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1
    time: float = 0.0


class EventLog:
    """Appends events to a file, then hands each to `listener`.

    Attributes:
        damage: what was said of lines that are no events; they are left where they are and do not count.

    Raises:
        RunError: the file cannot be opened.
    """

    def __init__(self, path: Path, listener: Callable[[Event], None] | None = None) -> None:
        look_again()
        self.path = path
        self.listener = listener
        self.damage: list[str] = []
        try:
            earlier = _lines(path, self.damage.append) if path.exists() else ()
            self.attempt = 1 + max((event.attempt for event in earlier), default=0)
            _close_torn_line(path)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise RunError(f"{path}: cannot write events: {error.strerror or error}") from error

    def emit(self, name: str, stage: str = "", step: int | None = None, /, **data: Any) -> Event:
        """Write one event to the operating system, so that it outlives this process.

        Whatever the data hold can be written: they become plain (`core.ground.cleaning`), for the listener too.

        Raises:
            RunError: the disk is full or the folder unwritable; the file ends with the event before.
        """
        event = Event(clean(name), clean(stage), step, plain(data), self.attempt, time.time())
        line = f"{json_text(asdict(event))}\n".encode()
        start = self._file.tell()
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            self._file.truncate(start)
            raise RunError(f"{self.path}: cannot write events: {error.strerror or error}") from error
        if self.listener is not None:
            self.listener(event)
        return event

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


def read_events(path: Path, on_damage: Callable[[str], None] = log.warning) -> list[Event]:
    """All events that still hold.

    Args:
        on_damage: told of lines that are no events and are passed over.

    A `rewind` to a step drops the later ones of its stage, one to 0 all that earlier attempts said of it.
    A stage that was started again under another hash (or is reused under an earlier one) keeps only the events of its
    last hash.
    """
    kept: list[tuple[Event, str]] = []
    hashes: dict[str, str] = {}
    for event in _lines(path, on_damage):
        if event.name in ("stage_started", "stage_reused"):
            hashes[event.stage] = str(event.data.get("hash", ""))
        mine = hashes.get(event.stage, "")
        if event.name == "rewind":
            kept = [(old, under) for old, under in kept if under != mine or not _superseded(old, event)]
        kept.append((event, mine))
    return [event for event, under in kept if under == hashes.get(event.stage, "")]


def _superseded(old: Event, rewind: Event) -> bool:
    last = rewind.step or 0
    if old.stage != rewind.stage:
        return False
    return (old.step or 0) > last or (last == 0 and old.attempt < rewind.attempt)


def _lines(path: Path, on_damage: Callable[[str], None]) -> Iterator[Event]:
    """The events of a file; the last line may be torn by a kill, any other that is no event is damage."""
    bad = 0
    for number, line in read_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            event: Event = typed(parse_json(decode(line, where), str(path), line=number), Event, where)
        except RunError as error:
            if line.endswith(b"\n"):
                bad += 1
                if bad <= TOLD:
                    on_damage(f"{error}; this line is no event and is passed over")
            continue
        yield event
    if bad > TOLD:
        on_damage(f"{path}: {bad - TOLD:,} more lines are no events and are passed over")


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
