"""Making a recorded step of a stage again, as it was or by other settings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import RunError, unknown

if TYPE_CHECKING:
    from aftertrain.core.records import Artifact
    from aftertrain.core.run.folder import RunFolder
    from aftertrain.core.stage import Replayed
    from aftertrain.registry.recipe import LoadedRecipe


@dataclass(frozen=True)
class ReplayedStage:
    """A step made again.

    Attributes:
        name: `RUN:STAGE`.
        recorded: figures of the step as the run told them.
    """

    name: str
    replayed: Replayed
    recorded: Mapping[str, float]

    @property
    def same(self) -> bool:
        """Whether every token column has the bits that were recorded."""
        return not any(self.replayed.columns.values())


def replay(run: str | os.PathLike[str], step: int, overrides: Iterable[str] = ()) -> ReplayedStage:
    """Make a step of a run's online stage again, from its newest checkpoint before it or its start.

    Args:
        run: a run's folder or its name under `runs/`; with `:STAGE` that stage, needed where there are several.
        step: counted from 1.
        overrides: `stages.STAGE.SETTING=VALUE` texts; the step is then made by these settings too.

    Raises:
        RunError: there is no such run or stage, or the step cannot be made again; names those that can.
        RecipeError: a setting is unknown or does not fit.
    """
    from aftertrain.api.finished import loaded_manifest, manifest_of, split_name
    from aftertrain.api.history import history
    from aftertrain.core.learning.seeding import use_determinism
    from aftertrain.core.run.checkpoint import Checkpoints
    from aftertrain.core.run.folder import RunFolder
    from aftertrain.core.stage import Replays, StageContext

    path, wanted = split_name(run)
    folder, manifest = RunFolder(path), manifest_of(path)
    loaded = loaded_manifest(manifest, run=path)
    hashes = {stage.name: stage.hash for stage in history(path)}
    there = {
        name: stage
        for name, use in loaded.recipe.stages.items()
        if name in hashes and isinstance(stage := loaded.builder.build(use), Replays)
    }
    name = _chosen(path, wanted, there)
    changed = [*overrides]
    for text in changed:
        if not text.startswith(f"stages.{name}."):
            raise RunError(f"{text!r}: settings to replay by are of stage {name!r}: stages.{name}.SETTING=VALUE")
    other = loaded_manifest(manifest, changed, run=path) if changed else None
    own = folder.stage(name, hashes[name])
    use_determinism(manifest.threads)
    context = StageContext(
        name=name,
        folder=own,
        seed=loaded.recipe.seed_of(name),
        inputs=_inputs(folder, loaded, hashes, name),
        builder=loaded.builder,
        checkpoints=Checkpoints(own / "checkpoints"),
        emit=lambda event, step=None: None,
        stopping=lambda: False,
        chat_template=loaded.recipe.chat_template,
    )
    start = Checkpoints(own / "checkpoints").before(step)
    by_others: Any = None if other is None else other.builder.build(other.recipe.stages[name])
    done = there[name].replay(context, step, start, by_others)
    return ReplayedStage(f"{path.name}:{name}", done, _recorded(folder, name, step))


def _chosen(path: Path, wanted: str, there: Mapping[str, Any]) -> str:
    if not there:
        raise RunError(f"{path} has no stage whose steps could be made again: that is what online stages keep")
    if wanted and wanted not in there:
        raise RunError(f"{path}: {unknown('online stage', wanted, there)}")
    if not wanted and len(there) > 1:
        raise RunError(
            f"{path} has several online stages, {', '.join(there)}: name one, as in {path.name}:{min(there)}"
        )
    return wanted or min(there)


def _inputs(folder: RunFolder, loaded: LoadedRecipe, hashes: Mapping[str, str], name: str) -> dict[str, Artifact]:
    """What the stage was given, by role.

    Raises:
        RunError: a parent's artifact is gone.
    """
    from aftertrain.core.records import Artifact
    from aftertrain.core.run.base_model import find_model
    from aftertrain.core.run.done import DONE, Done
    from aftertrain.core.run.folder import read_json
    from aftertrain.core.stage import BASE

    found = {}
    for parent in loaded.builder.build(loaded.recipe.stages[name]).inputs():
        if parent.stage == BASE:
            model = find_model(loaded.recipe.base_model, loaded.folder, weights=True)
            found[parent.role] = Artifact("model", str(model), BASE, digest="")
            continue
        own = folder.stage(parent.stage, hashes.get(parent.stage, ""))
        done = read_json(own / DONE, Done)
        if done is None:
            raise RunError(f"{own}: what stage {parent.stage!r} made is gone, and {name!r} began from it")
        found[parent.role] = Artifact(done.artifact.type, str(own / done.artifact.path), parent.stage, digest="")
    return found


def _recorded(folder: RunFolder, stage: str, step: int) -> Mapping[str, float]:
    """Figures of the step, of the last attempt that came to it."""
    from aftertrain.core.events import Metrics
    from aftertrain.core.events.lines import read_events

    found: Mapping[str, float] = {}
    for entry in read_events(folder.events):
        if entry.stage == stage and entry.step == step and isinstance(entry.event, Metrics):
            found = entry.event.values
    return found
