"""The run's folder: what lies where, whose it is, and files that are either whole or absent.

runs/<name>/
  manifest.json            resolved recipe, seed, packages, plugins, hardware
  events.jsonl             every event, append-only
  stages/<stage>-<hash>/   lineage.json, machine.json, checkpoints/, model/, samples/, done.json (last)
  cache/                   what may be thrown away: replies that were made once
  .lock                    held by the running process
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import weakref
from pathlib import Path
from typing import Any, TypeVar

from aftertrain.core.errors import RunError
from aftertrain.core.ground import reading
from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.run.checkpoint import DRAFT, REMOVED, fsync
from aftertrain.core.run.lineage import SHORT

T = TypeVar("T")
_held: weakref.WeakSet[RunFolder] = weakref.WeakSet()


class RunFolder:
    """An existing run folder, opened by one process at a time.

    Raises:
        RunError: on entering, when the folder cannot be made or written, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    @property
    def events(self) -> Path:
        """`events.jsonl`."""
        return self.path / "events.jsonl"

    @property
    def cache(self) -> Path:
        """`cache/`; it need not exist."""
        return self.path / "cache"

    @property
    def manifest(self) -> Path:
        """`manifest.json`."""
        return self.path / "manifest.json"

    def stage(self, name: str, hash_: str) -> Path:
        """Folder of one stage under one hash, be it under a name that the stage had before; it need not exist."""
        own = self.path / "stages" / f"{name}-{hash_[:SHORT]}"
        renamed = sorted(self.path.glob(f"stages/[!.]*-{hash_[:SHORT]}"))
        return own if own.exists() or not renamed else renamed[0]

    def versions(self, name: str) -> list[Path]:
        """Folders of a stage under any hash, oldest first."""

        def begun(folder: Path) -> int:
            lineage = folder / "lineage.json"
            return lineage.stat().st_mtime_ns if lineage.is_file() else 0

        named = self.path.glob(f"stages/{name}-*")
        own = [path for path in named if path.name.removeprefix(f"{name}-").isalnum() and path.is_dir()]
        return sorted(own, key=begun)

    def __enter__(self) -> RunFolder:
        try:
            (self.path / "stages").mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(
                f"{error.filename or self.path}: cannot write the run folder: {error.strerror}; "
                "choose another place with --out DIR"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise RunError(
                f"{self.path} is in use by {owner}; wait for it, stop it, or choose another place with --out DIR"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._lock = descriptor
        _held.add(self)
        for folder in (self.path, *self.path.glob("stages/*"), *self.path.glob("stages/*/checkpoints")):
            sweep(folder)
        return self

    def __exit__(self, *raised: object) -> None:
        self.forget_lock()

    def forget_lock(self) -> None:
        """Close the lock file. A forked child does so at once: else it would hold the lock after its parent's death."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _forget_locks() -> None:
    for folder in list(_held):
        folder.forget_lock()


os.register_at_fork(after_in_child=_forget_locks)


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file so that a kill at any moment leaves the old one or the new one.

    Raises:
        RunError: the disk is full or the folder unwritable; the old file stays.
    """
    draft = path.with_name(f"{DRAFT}{path.name}")
    try:
        draft.write_text(f"{json_text(data, indent=1)}\n", encoding="utf-8")
        fsync(draft)
        draft.rename(path)
        fsync(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RunError(f"{path}: cannot write: {error.strerror or error}") from error


def read_json(path: Path, kind: type[T], *, cure: str = "") -> T | None:
    """Content of one of the run's JSON files as `kind`; None if there is none.

    Raises:
        RunError: it is damaged; names file and place, and ends with `cure`.
    """
    return reading.read_json(path, kind, cure=cure) if os.path.lexists(path) else None


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written or half removed in a folder."""
    for pattern in (f"{DRAFT}*", f"{REMOVED}*"):
        for leftover in folder.glob(pattern):
            remove(leftover)


def discard(folder: Path) -> None:
    """Remove a folder so that a kill in the midst of it leaves nothing that looks like one; see `sweep`."""
    if folder.exists():
        gone = folder.with_name(f"{REMOVED}{folder.name}")
        remove(gone)
        folder.rename(gone)
        remove(gone)


def remove(folder: Path) -> None:
    """Remove a folder or file if it exists."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
