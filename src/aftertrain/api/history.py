"""What became of each stage in a run's folder, and why: read back from events and `lineage.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aftertrain.core.errors import RunError
from aftertrain.core.events import Checkpointed, Entry, StageDone, StageReused, StageStarted
from aftertrain.core.events.lines import read_events
from aftertrain.core.run.folder import RunFolder, read_json
from aftertrain.core.run.lineage import Recorded
from aftertrain.core.run.manifest import Manifest


@dataclass(frozen=True)
class StageHistory:
    """One stage of a run, as it stands.

    Attributes:
        state: `reused in attempt 2`, `done in attempt 1`, `half done, step 40`, `begun`.
        why: what changed against the version before, when it was first run under this hash.
        inputs: parents by role, with the beginning of their digests.
        data: content digests by name.
        others: folders of versions under other hashes.
    """

    name: str
    hash: str
    state: str
    why: tuple[str, ...]
    inputs: Mapping[str, str]
    data: Mapping[str, str]
    others: tuple[str, ...]


def history(run_folder: Path) -> list[StageHistory]:
    """The stages of a run's last recipe that have been begun, in their order.

    Raises:
        RunError: the folder is no run's, or a record in it is damaged.
    """
    folder = RunFolder(run_folder)
    manifest = read_json(folder.manifest, Manifest, cure="restore it, or start the recipe again: it is written anew")
    if manifest is None or not folder.events.exists():
        raise RunError(f"{run_folder} is no run's folder: it has no manifest.json and events.jsonl")
    events = read_events(folder.events)
    stages = (_stage(folder, name, [e for e in events if e.stage == name]) for name in manifest.order)
    return [stage for stage in stages if stage is not None]


def _stage(folder: RunFolder, name: str, entries: list[Entry]) -> StageHistory | None:
    marks = [entry for entry in entries if isinstance(entry.event, StageStarted | StageReused | StageDone)]
    if not marks:
        return None
    begun = [entry.event for entry in marks if isinstance(entry.event, StageStarted | StageReused)]
    hash_ = begun[-1].hash if begun else ""
    own = folder.stage(name, hash_)
    record = read_json(own / "lineage.json", Recorded, cure="the stage's next run writes it anew") or Recorded()
    return StageHistory(
        name=name,
        hash=hash_,
        state=_state(marks[-1], entries),
        why=record.why,
        inputs={role: digest[:12] for role, digest in record.inputs.items()},
        data=record.data,
        others=tuple(version.name for version in folder.versions(name) if version != own),
    )


def _state(last: Entry, entries: list[Entry]) -> str:
    if isinstance(last.event, StageReused):
        return f"reused in attempt {last.attempt}"
    if isinstance(last.event, StageDone):
        return f"done in attempt {last.attempt}"
    saved = [entry.step for entry in entries if isinstance(entry.event, Checkpointed) and entry.step is not None]
    return f"half done, saved at step {max(saved)}" if saved else "begun"
