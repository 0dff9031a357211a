"""An event, and its entry in the diary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import Any, ClassVar

from aftertrain.core.ground.cleaning import plain
from aftertrain.core.records import JSON

FLAT = "flat"
"""Key of a field's metadata: see `flat`."""


def flat() -> Any:
    """A field that is a mapping, whose entries stand among the event's other fields in the line."""
    return field(metadata={FLAT: True})


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; its fields are JSON data.

    Clocks and speeds stand under a field `timing`, so that comparisons of runs can leave them out.
    """

    event: ClassVar[str]
    """The event's name in the line; of a plugin's own `plugin/name`."""

    def facts(self) -> dict[str, JSON]:
        """The `data` of the line: the fields, without those that need not be given and are None, false or empty.

        An entry of a flat mapping that is called like another field gets ` (2)` behind its name.
        """
        own, among = _parts(type(self))  # type: ignore[arg-type]  # a class with slots is hashable
        flat_values = {} if among is None else _plain(getattr(self, among))
        entries = {name if name not in own else f"{name} (2)": value for name, value in flat_values.items()}
        values = {name: getattr(self, name) for name in own}
        return {**entries, **_plain({name: value for name, value in values.items() if not _spare(own[name], value)})}


@dataclass(frozen=True, slots=True)
class Other(Event):
    """An event whose class the reader does not know: a plugin's, or another version's.

    Attributes:
        name: the event's name in the line.
        values: all that the line says.
    """

    event: ClassVar[str] = "other"
    name: str
    values: Mapping[str, JSON] = field(default_factory=dict)

    def facts(self) -> dict[str, JSON]:
        """All that the line says."""
        return dict(self.values)


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it stands in the diary.

    Attributes:
        event: what happened.
        stage: the stage's name, empty for what concerns the whole run.
        step: optimizer or online step that it belongs to (counted from 1), None outside steps.
        attempt: how often the run had been started by then, counted from 1.
        time: seconds since the epoch.
    """

    event: Event
    stage: str = ""
    step: int | None = None
    attempt: int = 1
    time: float = 0.0

    @property
    def name(self) -> str:
        """The event's name in the line."""
        return self.event.name if isinstance(self.event, Other) else self.event.event

    @property
    def data(self) -> dict[str, JSON]:
        """The event's facts, as in the line."""
        return self.event.facts()


@cache
def _parts(kind: type[Event]) -> tuple[dict[str, Field[Any]], str | None]:
    """A class's fields by name, and the name of its flat one."""
    own = {part.name: part for part in fields(kind) if not part.metadata.get(FLAT)}
    return own, next((part.name for part in fields(kind) if part.name not in own), None)


def _plain(values: Mapping[str, Any]) -> dict[str, JSON]:
    data: dict[str, JSON] = plain(values, verbatim=True)
    return data


def _spare(part: Field[Any], value: object) -> bool:
    """Whether a field says nothing that its absence does not."""
    optional = part.default is not MISSING or part.default_factory is not MISSING
    return optional and (value is None or value is False or (isinstance(value, str | tuple | Mapping) and not value))
