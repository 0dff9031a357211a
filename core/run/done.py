"""`done.json`: the last thing a stage leaves, and the proof that its artifact is whole."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from aftertrain.core.errors import RunError
from aftertrain.core.records import Artifact
from aftertrain.core.run.base_model import NOT_CONTENT
from aftertrain.core.run.checkpoint import changed, digest, fsync
from aftertrain.core.run.folder import read_json, write_json
from aftertrain.core.run.graph import Node
from aftertrain.core.run.lineage import SHORT

DONE = "done.json"
RECORDS = ("checkpoints", "lineage.json", "machine.json", DONE)
"""What lies in a stage's folder and is no part of its artifact."""


@dataclass(frozen=True)
class Done:
    """Content of `done.json`.

    Attributes:
        hash: of the stage.
        artifact: its path is relative to the stage's folder.
        files: SHA-256 of each file of the artifact, by its name relative to the stage's folder.
    """

    hash: str
    artifact: Artifact
    files: dict[str, str]


def write_done(folder: Path, artifact: Artifact, node: Node, hash_: str) -> Artifact:
    """Check and seal what a stage made: all files forced to the disk, their digests recorded, `done.json` last.

    Raises:
        RunError: it is not what the stage promised, lies elsewhere, or the disk is full.
    """
    path = Path(artifact.path).resolve()
    if artifact.type != node.stage.output:
        raise RunError(f"stage {node.name!r} promised a {node.stage.output} and returned a {artifact.type}")
    if not path.is_relative_to(folder.resolve()) or not path.is_dir():
        raise RunError(f"stage {node.name!r} returned {path}, which is no folder inside its own, {folder}")
    inside = path.relative_to(folder.resolve()).as_posix()
    files = artifact_files(folder, inside)
    for name in files:
        fsync(folder / name)
    for directory in {(folder / name).parent for name in files}:
        fsync(directory)
    artifact = replace(artifact, stage=node.name, digest=hash_, path=str(folder / inside))
    done = Done(hash_, replace(artifact, path=inside), {name: digest(folder / name) for name in files})
    write_json(folder / DONE, asdict(done))
    return artifact


def read_done(folder: Path, node: Node, hash_: str, *, thorough: bool = True) -> tuple[Artifact | None, str | None]:
    """The artifact of a stage that is done, or None with what is damaged (None, None: it is not done).

    It is only what the stage left: no file more or less, none in the place of another, none that a link leads to.

    Args:
        thorough: compare the digests of the files, not only which there are.

    Raises:
        RunError: there is a file that the stage did not write, which the next reader would take for its own.
    """
    try:
        done = read_json(folder / DONE, Done)
    except RunError as error:
        return None, str(error)
    if done is None:
        return None, None
    damage = _damage(folder, done, node, hash_) or _difference(folder, done, thorough)
    if damage is not None:
        return None, damage
    return replace(done.artifact, stage=node.name, path=os.path.normpath(folder / done.artifact.path)), None


def _damage(folder: Path, done: Done, node: Node, hash_: str) -> str | None:
    """What `done.json` says that this stage's cannot say."""
    artifact = done.artifact
    if done.hash != hash_ or artifact.digest != hash_:
        return f"{folder / DONE}: is of another stage (its hash is {done.hash[:SHORT]})"
    if artifact.type != node.stage.output:
        return f"{folder / DONE}: names a {artifact.type}, the stage makes a {node.stage.output}"
    path = folder / artifact.path
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_dir():
        return f"{path}: is no folder inside the stage's own"
    return None


def _difference(folder: Path, done: Done, thorough: bool) -> str | None:
    """The first file that is not as `done.json` has it."""
    there = set(artifact_files(folder, done.artifact.path))
    for name in sorted(there | done.files.keys()):
        path = folder / name
        if name not in there:
            return f"{path}: missing"
        if name not in done.files:
            if name.endswith(NOT_CONTENT):
                continue
            raise RunError(
                f"{path}: stage {done.artifact.stage!r} did not write this file, and it lies among those that it did; "
                "take it away, or make the stage anew with --restart"
            )
        if path.is_symlink():
            return f"{path}: is a link now, and was a file"
        if thorough and (damage := changed(path, done.files[name])):
            return damage
    return None


def artifact_files(folder: Path, inside: str) -> list[str]:
    """Names, relative to the stage's folder, of the files of its artifact."""
    names = (path.relative_to(folder).as_posix() for path in (folder / inside).rglob("*") if path.is_file())
    return sorted(name for name in names if name.split("/")[0] not in RECORDS and "/." not in f"/{name}")
