"""Openings of sealed benchmarks: kept in the model's folder, and handed on to every model that is made of it.

The file is hidden, so that it is no part of the model's content: opening a seal changes no digest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from aftertrain.core.errors import RunError
from aftertrain.core.ground.cleaning import json_text
from aftertrain.core.ground.reading import parse_json, read_text, typed

FILE = ".aftertrain-openings.jsonl"
_LARGEST = 16 << 20


@dataclass(frozen=True, slots=True)
class Opening:
    """A sealed benchmark was scored.

    Attributes:
        benchmark: its name.
        task: by which it was reached.
        reason: that was given.
        run: in which, `RUN:STAGE`.
        model: that was scored, by the first of its digest.
    """

    benchmark: str
    task: str
    reason: str
    run: str
    model: str

    def __str__(self) -> str:
        return f"{self.benchmark} was opened by {self.run} on the model {self.model} ({self.reason})"


def openings(folder: Path) -> list[Opening]:
    """Those of a model and of all that it was made of.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(read_text(path, limit=_LARGEST, error=RunError).splitlines(), 1):
        row = parse_json(line, str(path), line=number)
        opening: Opening = typed(row, Opening, f"{path}:{number}", error=RunError)
        found.append(opening)
    return list(dict.fromkeys(found))


def keep_openings(folder: Path, found: Iterable[Opening]) -> None:
    """Add openings to those of a model; what is there stays.

    Raises:
        OSError: the folder cannot be written, or belongs to an installed package, which all who have it share.
    """
    if any((above / "__init__.py").exists() for above in folder.resolve().parents):
        raise OSError(f"{folder} is part of an installed package")
    there = openings(folder)
    fresh = [opening for opening in dict.fromkeys(found) if opening not in there]
    if not fresh:
        return
    with (folder / FILE).open("a", encoding="utf-8") as file:
        for opening in fresh:
            file.write(json_text(asdict(opening)) + "\n")
        file.flush()
        os.fsync(file.fileno())
