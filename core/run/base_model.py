"""The recipe's base model: where it is, and a digest of its content."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path

from aftertrain.core.errors import ModelError, UnknownName
from aftertrain.core.events import StageDone, StageReused
from aftertrain.core.events.lines import read_events
from aftertrain.core.ground.endpoint import endpoint_of, is_endpoint
from aftertrain.core.ground.model_folder import check_weights, read_config
from aftertrain.core.records import Artifact, ArtifactType
from aftertrain.core.run.checkpoint import digest
from aftertrain.core.stage import BASE

PACKAGE = "package:"
NOT_CONTENT = (".md", ".txt.orig", ".gitattributes", ".lock")
DESCRIPTION_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]
"""What a hub model's folder holds beside weights: all that `plan` looks at."""


def base_type(model: str | None) -> ArtifactType | None:
    """What a recipe's `model` is: a folder, an endpoint, which stages can only ask, or none."""
    if model is None:
        return None
    return "endpoint" if is_endpoint(model) else "model"


def base_artifact(model: str, base_folder: Path) -> Artifact:
    """The recipe's model, found, with the digest of its content; an endpoint's is of its address and name.

    Raises:
        ModelError: see `find_model` and `endpoint_of`.
    """
    if is_endpoint(model):
        return Artifact("endpoint", model, BASE, endpoint_of(model).digest)
    folder = find_model(model, base_folder)
    return Artifact("model", str(folder), BASE, model_digest(folder))


def find_model(model: str, base_folder: Path, *, weights: bool = True) -> Path:
    """Folder of a model named in a recipe: `package:MODULE/FOLDER`, a folder, `RUN:STAGE`, a run, or a hub name.

    Args:
        base_folder: what a relative folder is relative to (the recipe's).
        weights: False fetches only configuration and tokenizer of a hub model.

    Raises:
        ModelError: it is not there, is no model folder but an endpoint, or the hub is out of reach.
    """
    if is_endpoint(model):
        raise ModelError(f"{model} is an endpoint, and a model folder is needed here")
    if model.startswith(PACKAGE):
        return _checked(_in_package(model.removeprefix(PACKAGE), model), model, weights=weights)
    written = Path(model).expanduser()
    folder = written if written.is_absolute() else base_folder / written
    run, _, stage = str(folder).rpartition(":")
    if is_run(folder):
        return _checked(model_of_run(folder), model, weights=weights)
    if is_run(Path(run)):
        return _checked(model_of_run(Path(run), stage), model, weights=weights)
    if folder.is_dir():
        return _checked(folder.resolve(), model, weights=weights)
    if written.is_absolute() or model.startswith(".") or model.count("/") > 1:
        raise ModelError(f"model {model!r}: there is no folder {folder}")
    return _from_hub(model, folder, weights)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's."""
    return (folder / "manifest.json").is_file() and (folder / "events.jsonl").is_file()


def model_of_run(folder: Path, stage: str | None = None) -> Path:
    """The model that a stage of a run left, wherever the run's folder has been moved to.

    Args:
        stage: its name; None takes the last one that is done.

    Raises:
        UnknownName: no stage of that name has left a model. ModelError: none has.
    """
    models: dict[str, Path] = {}
    for entry in read_events(folder / "events.jsonl"):
        left = entry.event.artifact if isinstance(entry.event, StageDone | StageReused) else None
        if left is not None and left.type == "model":
            models.pop(entry.stage, None)
            models[entry.stage] = folder / "stages" / left.path.rpartition("stages/")[2]
    if stage is not None and stage not in models:
        raise UnknownName("stage with a model", stage, models, note=f"In the run {folder}.")
    if not models:
        raise ModelError(f"run {folder}: no stage has left a model yet")
    return list(models.values())[-1] if stage is None else models[stage]


def model_digest(folder: Path) -> str:
    """SHA-256 over names and content of the model's files; hidden files and Markdown (the model card) do not count.

    A file that the hub's cache links to a blob named by its SHA-256 is not read again.
    """
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(".") and "/." not in name and not name.endswith(NOT_CONTENT):
            total.update(f"{name}\0{_content(path)}\n".encode())
    return total.hexdigest()


def _content(path: Path) -> str:
    blob = Path(os.path.realpath(path))
    if path.is_symlink() and blob.parent.name == "blobs" and len(blob.name) == 64:
        return blob.name
    return digest(path)


def _in_package(inside: str, model: str) -> Path:
    module, _, folder = inside.partition("/")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"model {model!r}: there is no installed package {module!r}")
    return Path(next(iter(spec.submodule_search_locations))) / folder


def _checked(folder: Path, model: str, *, weights: bool = True) -> Path:
    if not folder.is_dir():
        raise ModelError(f"model {model!r}: there is no folder {folder}")
    if not (folder / "config.json").is_file():
        adapter = " but adapters of a model" if (folder / "adapter_config.json").is_file() else ""
        raise ModelError(
            f"model {model!r}: {folder} has no config.json, so it is no Hugging Face model folder{adapter}"
        )
    try:
        read_config(folder)
        check_weights(folder, needed=weights)
    except ModelError as error:
        raise ModelError(f"model {model!r}: {error}") from error
    return folder


def _from_hub(model: str, folder: Path, weights: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [*DESCRIPTION_FILES, "*.safetensors"] if weights else DESCRIPTION_FILES
    try:
        return _checked(Path(snapshot_download(model, allow_patterns=wanted)), model, weights=weights)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"model {model!r}: there is no folder {folder}, and the hub does not give it: {reason.rstrip('.')}. "
            "Give a folder with model=./folder"
        ) from error
