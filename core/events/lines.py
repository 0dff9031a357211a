"""From the lines of `events.jsonl` to entries, those of older versions and of other plugins among them.

A resume appends a `Rewind`; `read_events` drops what it supersedes, and what belongs to a stage under settings or code
it no longer has. A torn last line is tolerated, and a line that is no event is told and passed over. A field that is
not what its class says is left out and told; an event that lacks what its class needs becomes an `Other`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from aftertrain.core.errors import RunError
from aftertrain.core.events import EVENTS, Books, Entry, Event, Other, Rewind, Saved, StageReused, StageStarted
from aftertrain.core.events.event import FLAT
from aftertrain.core.ground.reading import adapter, decode, parse_json, read_lines, typed
from aftertrain.core.records import JSON

log = logging.getLogger(__name__)
TOLD = 3
"""Damaged lines of a file that are told one by one."""
CLOSING = (Saved, Books)
"""What a stage says after its last checkpoint, and says again when it goes on from there."""
E = TypeVar("E", bound=Event)
Told = Callable[[str], None]


@dataclass(frozen=True)
class _Line:
    name: str
    stage: str = ""
    step: int | None = None
    data: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1
    time: float = 0.0


def read_events(path: Path, on_damage: Told = log.warning, *, also: Iterable[type[Event]] = ()) -> list[Entry]:
    """All entries that still hold.

    A `Rewind` to a step drops the later ones of its stage and those that close it, one to 0 all that earlier attempts
    said of it.
    A stage that was started again under another hash (or is reused under an earlier one) keeps only the entries of its
    last hash; one that was begun under another name and goes on under this one has the entries of that name, too.

    Args:
        on_damage: told of what is passed over.
        also: events of plugins that are to be read as such.
    """
    standing: list[tuple[Entry, str]] = []
    hashes: dict[str, str] = {}
    for entry in entries(path, on_damage, also):
        if isinstance(entry.event, StageStarted | StageReused):
            hashes[entry.stage] = entry.event.hash
            standing += [(replace(old, stage=entry.stage), entry.event.hash) for old in _of_one_name(standing, entry)]
        mine = hashes.get(entry.stage, "")
        if isinstance(entry.event, Rewind):
            standing = [(old, under) for old, under in standing if under != mine or not _superseded(old, entry)]
        standing.append((entry, mine))
    return [entry for entry, under in standing if under == hashes.get(entry.stage, "")]


def entries(path: Path, on_damage: Told, also: Iterable[type[Event]] = ()) -> Iterator[Entry]:
    """All entries of a file; the last line may be torn by a kill, any other that is no event is damage."""
    kinds = {kind.event: kind for kind in (*EVENTS, *also)}
    damages = 0

    def tell(message: str) -> None:
        nonlocal damages
        damages += 1
        if damages <= TOLD:
            on_damage(message)

    for number, text in read_lines(path):
        if not text.strip():
            continue
        where = f"{path}:{number}"
        try:
            line: _Line = typed(parse_json(decode(text, where), str(path), line=number), _Line, where)
        except RunError as error:
            if text.endswith(b"\n"):
                tell(f"{error}; this line is no event and is passed over")
            continue
        kind = kinds.get(line.name)
        event = Other(line.name, line.data) if kind is None else _read(kind, line.data, f"{where}: {line.name}", tell)
        yield Entry(event, line.stage, line.step, line.attempt, line.time)
    if damages > TOLD:
        on_damage(f"{path}: {damages - TOLD:,} more faults are not told one by one")


def event_of(kind: type[E], facts: Mapping[str, JSON]) -> E | Other:
    """An event from its plain facts."""
    return _read(kind, facts, kind.event, log.warning)


def _read(kind: type[E], facts: Mapping[str, JSON], where: str, tell: Told) -> E | Other:
    among = next((part.name for part in fields(kind) if part.metadata.get(FLAT)), None)
    values = dict(facts)
    if among is not None:
        own = {part.name for part in fields(kind)} - {among}
        values = {name: value for name, value in facts.items() if name in own}
        values[among] = {name: value for name, value in facts.items() if name not in own}
    while True:
        try:
            event: E = adapter(cast("Any", kind)).validate_python(values)
        except ValidationError as error:
            # From the last on, so that the places of the items before it stay true.
            faults = reversed(error.errors(include_url=False, include_context=False))
            places = {fault["loc"][:2]: fault["msg"] for fault in faults}
            taken = {place: message for place, message in places.items() if _left_out(values, place)}
            if not taken:
                return Other(kind.event, facts)
            for place, message in taken.items():
                tell(f"{where}: {'.'.join(map(str, place))}: {message}; left out")
        else:
            return event


def _left_out(values: dict[str, Any], place: tuple[int | str, ...]) -> bool:
    """Take out the field that is at fault, or its item; false if there is none to take out."""
    if not place or place[0] not in values:
        return False
    field_, rest = values[place[0]], place[1:]
    if isinstance(field_, dict) and rest and rest[0] in field_:
        values[place[0]] = {name: value for name, value in field_.items() if name != rest[0]}
    elif isinstance(field_, list) and rest and isinstance(rest[0], int) and rest[0] < len(field_):
        values[place[0]] = [*field_[: rest[0]], *field_[rest[0] + 1 :]]
    else:
        del values[place[0]]
    return True


def _of_one_name(entries: list[tuple[Entry, str]], begun: Entry) -> list[Entry]:
    """What was said of the stage under another name, where nothing was under its own."""
    hash_ = getattr(begun.event, "hash", "")
    alike = [old for old, under in entries if under == hash_ and hash_]
    return [] if any(old.stage == begun.stage for old in alike) else [o for o in alike if o.stage == alike[0].stage]


def _superseded(old: Entry, rewind: Entry) -> bool:
    last = rewind.step or 0
    if old.stage != rewind.stage:
        return False
    return (old.step or 0) > last or (last == 0 and old.attempt < rewind.attempt) or isinstance(old.event, CLOSING)
