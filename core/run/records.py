"""A stage's small records beside its artifact, `lineage.json` and `machine.json`, read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from aftertrain.core.errors import RunError
from aftertrain.core.run.folder import read_json
from aftertrain.core.run.lineage import Lineage, Recorded, changes

LINEAGE, MACHINE = "lineage.json", "machine.json"


def recorded_why(folder: Path) -> list[str] | None:
    """Why the stage of a folder was run, as it was written down; None if nothing was.

    Raises:
        RunError: the record is damaged.
    """
    own = read_json(folder / LINEAGE, Recorded)
    return None if own is None else list(own.why)


def reasons(earlier: Sequence[Path], lineage: Lineage) -> list[str]:
    """Why a stage is run: what differs from its last version under another hash."""
    try:
        before = read_json(earlier[-1] / LINEAGE, Recorded) if earlier else None
    except RunError as error:
        return [f"the version before cannot be compared: {error}"]
    return changes(None if before is None else asdict(before), lineage)


def recorded_machine(folder: Path, stage: str) -> dict[str, str] | None:
    """What a stage was begun on, by name; None if it was not written down.

    Raises:
        RunError: the record is damaged.
    """
    cure = (
        f"without it nobody knows what stage {stage!r} was begun on: take the file away to go on all the same, or "
        "start the stage anew with --restart"
    )
    machine: dict[str, str] | None = read_json(folder / MACHINE, dict[str, str], cure=cure)
    return machine
