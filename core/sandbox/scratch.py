"""Throws away what programs leave in their scratch folders."""

from __future__ import annotations

import os


def remove(path: str) -> None:
    """Delete a file or a folder, whatever its rights and however deep: inner folders are first moved to the top, under
    names that no program can have foreseen.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return
    folders = _emptied(path)
    while folders:
        folder = folders.pop()
        for inner in _emptied(folder):
            os.chmod(inner, 0o700)
            folders.append(os.path.join(path, os.urandom(8).hex()))
            os.rename(inner, folders[-1])
        os.rmdir(folder)
    os.rmdir(path)


def _emptied(folder: str) -> list[str]:
    """Delete the files of a folder; the folders in it."""
    os.chmod(folder, 0o700)
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                os.unlink(entry.path)
    return folders
