"""Checkpoints that are either whole or absent.

Commit: write into a hidden folder beside, fsync each file, write and fsync `checksums.json`, rename, fsync the parent.
Of several ranks each writes and fsyncs its files into the folder that rank 0 made, and rank 0 does the rest.
A kill at any moment leaves the last good checkpoint; temporaries are swept at the next start. At least two are kept,
so that one damaged on disk is refused by name and the one before it used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from aftertrain.core.errors import CheckpointError, RunError
from aftertrain.core.ground.reading import read_json
from aftertrain.core.ranks import ALONE, Ranks
from aftertrain.core.run.disk import disk_refusal

log = logging.getLogger(__name__)
CHECKSUMS = "checksums.json"
DRAFT, REMOVED = ".writing-", ".removed-"
KEPT = 2
"""Newest checkpoints that are kept."""
_STEP = re.compile(r"step-([0-9]{8,12})")


class Checkpoints:
    """The checkpoints of one stage.

    Args:
        folder: `stages/<stage>-<hash>/checkpoints`.
        on_damage: told the message when a damaged checkpoint is passed over.
        before_commit: called when all is written and before it counts: what the checkpoint relies on goes to disk here.
        on_saved: told step and folder of each committed checkpoint.
        beside: called in each rank with the folder that a checkpoint is written into, after the stage has written.
        ranks: those that write a checkpoint together.
        start: what `latest` gives in a rank that does not look for itself, so that all go on from the same one.
    """

    def __init__(
        self,
        folder: Path,
        on_damage: Callable[[str], None] = log.warning,
        before_commit: Callable[[], None] = lambda: None,
        on_saved: Callable[[int, Path], None] = lambda step, folder: None,
        *,
        ranks: Ranks = ALONE,
        start: tuple[int, Path] | None = None,
        beside: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        self.folder = folder
        self.on_damage = on_damage
        self.before_commit = before_commit
        self.on_saved = on_saved
        self._verified = start
        self._ranks = ranks
        self._beside = beside

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """Commit what `write(folder)` puts into a fresh folder as the checkpoint of `step`.

        Raises:
            CheckpointError: the disk is full or the folder unwritable; earlier checkpoints stay as they were.
        """
        final = self.folder / f"step-{step:08d}"
        draft = self.folder / f"{DRAFT}{step:08d}"
        try:
            if self._ranks.first:
                self.folder.mkdir(parents=True, exist_ok=True)
                _remove(draft)
                draft.mkdir()
            self._ranks.meet(f"the folder of checkpoint {step}")
            write(draft)
            self._beside(draft)
            if not self._ranks.first:
                for _, path in _files(draft):
                    fsync(path)
            self._ranks.meet(f"all ranks to write checkpoint {step}")
            if not self._ranks.first:
                return final
            _seal(draft)
            self.before_commit()
            # Of this step or later: damaged ones that a resume has passed over, never to be found again.
            for folder in [folder for number, folder in self._all() if number >= step]:
                _remove(folder)
            draft.rename(final)
            fsync(self.folder)
            for _, folder in self._all()[:-KEPT]:
                _remove(folder)
        except BaseException as error:
            if self._ranks.first:
                shutil.rmtree(draft, ignore_errors=True)
            reason = disk_refusal(error) or (str(error) if isinstance(error, OSError) else None)
            if reason is None:
                raise
            raise CheckpointError(
                f"{final}: cannot write the checkpoint: {reason}; earlier checkpoints are intact"
            ) from error
        self._verified = step, final
        self.on_saved(step, final)
        return final

    def latest(self) -> tuple[int, Path] | None:
        """Step and folder of the newest checkpoint whose checksums hold, or None. Verified once, then remembered."""
        if self._verified is None and self._ranks.first:
            for odd in sorted({*self.folder.glob("step-*")}.difference(folder for _, folder in self._all())):
                self.on_damage(f"{odd}: is no checkpoint's folder; it is left alone")
            for step, folder in reversed(self._all()):
                damage = verify(folder)
                if damage is None:
                    self._verified = step, folder
                    break
                self.on_damage(f"{damage}; this checkpoint is refused, the one before it is used")
        return self._verified

    def before(self, step: int) -> tuple[int, Path] | None:
        """Step and folder of the newest whole checkpoint of an earlier step, or None."""
        earlier = (saved for saved in reversed(self._all()) if saved[0] < step)
        return next((saved for saved in earlier if verify(saved[1]) is None), None)

    def clear(self) -> None:
        """Remove all checkpoints, once the stage is done."""
        _remove(self.folder)
        self._verified = None

    def _all(self) -> list[tuple[int, Path]]:
        """Step and folder of each, by step."""
        named = ((_STEP.fullmatch(path.name), path) for path in self.folder.glob("step-*") if not path.is_symlink())
        return sorted((int(name[1]), path) for name, path in named if name and path.is_dir())


def _remove(folder: Path) -> None:
    """Remove a folder in two moves, so that a kill in between leaves no checkpoint with files missing."""
    if folder.exists():
        hidden = folder.with_name(f"{REMOVED}{folder.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        folder.rename(hidden)
        shutil.rmtree(hidden)


def verify(folder: Path) -> str | None:
    """None if every file of a sealed folder has its recorded checksum, else what is wrong, with the file's name."""
    try:
        expected: dict[str, str] = read_json(folder / CHECKSUMS, dict[str, str])
    except RunError as error:
        return str(error)
    present = {name for name, _ in _files(folder) if name != CHECKSUMS}
    for name in sorted(expected.keys() | present):
        if name not in present:
            return f"{folder / name}: missing"
        if name not in expected:
            return f"{folder / name}: not in {CHECKSUMS}"
        if damage := changed(folder / name, expected[name]):
            return damage
    return None


def changed(path: Path, recorded: str) -> str | None:
    """None if a file has its recorded digest, else what is wrong."""
    try:
        return None if digest(path) == recorded else f"{path}: checksum differs"
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror or error}"


def _seal(folder: Path) -> None:
    sums = {}
    for name, path in _files(folder):
        sums[name] = digest(path)
        fsync(path)
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1, sort_keys=True), encoding="utf-8")
    fsync(folder / CHECKSUMS)
    for directory in [path for path in folder.rglob("*") if path.is_dir()]:
        fsync(directory)
    fsync(folder)


def _files(folder: Path) -> list[tuple[str, Path]]:
    return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Force a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
