"""The alarms of a stage: from when to when each stood, and what it advised."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aftertrain.plugins.report.facts import Stage


@dataclass(frozen=True, slots=True)
class Told:
    """An alarm.

    Attributes:
        until: the step in which it was over; None where it stood to the end.
    """

    name: str
    message: str
    advice: str
    since: int | None
    until: int | None = None


def alarms(stage: Stage) -> tuple[Told, ...]:
    """In the order in which they began; one that came back is there twice."""
    told: list[Told] = []
    standing: dict[str, int] = {}
    for step, alarm in stage.alarms:
        if not alarm.cleared:
            standing[alarm.name] = len(told)
            told.append(Told(alarm.name, alarm.message, alarm.advice, step))
        elif (place := standing.pop(alarm.name, None)) is not None:
            told[place] = replace(told[place], until=step)
    return tuple(told)
