"""What trained a model that another run made: its recipe, read back from the run's folder, and all runs before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aftertrain.core.errors import AftertrainError, RunError

if TYPE_CHECKING:
    from aftertrain.core.run.graph import Node
    from aftertrain.core.stage import Learnt


def learnt_elsewhere(model: Path) -> dict[str, Learnt]:
    """What the stages learnt from that made a model, by `RUN:STAGE`; empty where no run is known to have made it.

    What cannot be found any more is told as unknown, and so are data that are not what they were.

    Args:
        model: its folder, somewhere in the folder of the stage that made it.
    """
    from aftertrain.core.run.base_model import is_run
    from aftertrain.core.stage import Learnt

    folder = model.resolve()
    stage = next((above for above in (folder, *folder.parents) if above.parent.name == "stages"), None)
    if stage is None or not is_run(run := stage.parent.parent):
        return {}
    try:
        return _in_run(run, stage)
    except AftertrainError as error:
        return {f"{run.name}:{stage.name.rpartition('-')[0]}": Learnt(unknown=str(error))}


def _in_run(run: Path, folder: Path) -> dict[str, Learnt]:
    from aftertrain.api.finished import loaded_manifest, manifest_of
    from aftertrain.api.history import history
    from aftertrain.core.run.ancestry import learnt, makers
    from aftertrain.core.run.folder import RunFolder
    from aftertrain.core.run.graph import stage_nodes
    from aftertrain.core.stage import Learnt

    folders = {stage.name: RunFolder(run).stage(stage.name, stage.hash) for stage in history(run)}
    if folder not in folders.values():
        raise RunError(f"the recipe that {run} has now is not the one that made {folder.name}")
    manifest = manifest_of(run)
    loaded = loaded_manifest(manifest, run=run)
    nodes = stage_nodes(loaded.recipe.stages, loaded.builder).values()
    last = next(node for node in nodes if folders.get(node.name) == folder)
    made_by, base = makers([last.name], nodes)
    found: dict[str, Learnt] = {}
    for node in made_by:
        name, place = f"{run.name}:{node.name}", folders.get(node.name)
        known = learnt(node, loaded.builder, place)
        if known.data:
            known = _compared(known, node, _recorded(place))
        if known != Learnt():
            found[name] = known
    return found | (learnt_elsewhere(Path(manifest.base.path)) if base and manifest.base.path else {})


def _recorded(folder: Path | None) -> Mapping[str, str]:
    """Digests of the data that a stage had."""
    from aftertrain.core.run.folder import read_json
    from aftertrain.core.run.lineage import Recorded
    from aftertrain.core.run.records import LINEAGE

    record = None if folder is None else read_json(folder / LINEAGE, Recorded)
    return {} if record is None else record.data


def _compared(known: Learnt, node: Node, then: Mapping[str, str]) -> Learnt:
    """With what cannot be looked at any more, or is not what the stage had."""
    try:
        now = node.stage.fingerprints()
    except AftertrainError as error:
        told = (f"its data cannot be read any more: {error}", known.unknown)
        return replace(known, data=(), unknown="; ".join(filter(None, told)))
    other = [name for name, digest in now.items() if then.get(name) != digest]
    told = (f"other now than when it learnt from them: {', '.join(other)}" if other else "", known.unknown)
    return replace(known, unknown="; ".join(filter(None, told)))
