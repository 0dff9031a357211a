"""Whether operators find the facts that those after them go by, before there is a row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from aftertrain.core.errors import unknown
from aftertrain.core.records import Record
from aftertrain.core.rows.chain import Step


@dataclass(frozen=True)
class FactNames:
    """What was seen of the names.

    Attributes:
        faults: facts that nothing finds, in words.
        unchecked: facts of which that could not be told, in words.
    """

    faults: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def fact_names(steps: Sequence[Step], record: type[Record], brought: Collection[str] | None) -> FactNames:
    """Follow the names through all operators.

    Args:
        record: type of the records that come to the first.
        brought: facts that the data have already; None where that is not known.
    """
    names, known, silent = FactNames(), set(brought or ()), list[str]()
    for place, (name, operator) in enumerate(steps):
        for fact in operator.reads():
            if fact in known:
                continue
            # An operator finds facts of its own name alone.
            if owner := next((other for other in silent if fact.startswith(f"{other}.")), None):
                names.unchecked.append(f"{name}: {fact}; {owner} does not say which facts it finds")
            elif brought is None:
                names.unchecked.append(f"{name}: {fact}; the data do not say which facts they have")
            else:
                later = next((other for other, _ in steps[place:] if fact.startswith(f"{other}.")), None)
                hint = f" {later} does not stand before it." if later else ""
                names.faults.append(f"{name}: {unknown('fact', fact, known)}{hint}")
        found = operator.writes(record)
        if found is None:
            silent.append(name)
        else:
            known.update(f"{name}.{each}" for each in found)
        record = operator.gives(record)
    return names
