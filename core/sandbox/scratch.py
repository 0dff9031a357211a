"""Throws away what programs leave in their scratch folders."""

from __future__ import annotations

import os


def remove(path: str) -> None:
    """Delete a file or a folder, whatever its rights and however deep: inner folders are first moved to the top."""
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return
    number, left = 0, [path]
    while left:
        folder = left[-1]
        os.chmod(folder, 0o700)
        inner = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    inner.append(entry.path)
                else:
                    os.unlink(entry.path)
        if folder != path or not inner:
            left.pop()
        for entry_path in inner:
            os.chmod(entry_path, 0o700)
            number += 1
            flat = entry_path if folder == path else os.path.join(path, f".aftertrain-{number}")
            if flat != entry_path:
                os.rename(entry_path, flat)
            left.append(flat)
        if folder != path or not inner:
            os.rmdir(folder)
