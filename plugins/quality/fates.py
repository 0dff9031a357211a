"""What was decided of rows, on disk: found by id without being held in memory."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_INDEX = np.dtype([("id", "<u8"), ("start", "<u8"), ("end", "<u8")])


@dataclass(frozen=True)
class Fate:
    """What becomes of a row.

    Attributes:
        kept: id of the row for which it is left out; None for one that is kept.
        similarity: to that row.
        duplicates: rows that are left out for it.
    """

    kept: str | None = None
    similarity: float = 1.0
    duplicates: int = 0


def write_fates(folder: Path, fates: Iterable[tuple[str, Fate]], figures: dict[str, Any]) -> None:
    """Write those that are no plain `Fate()`, by id."""
    keys, ends = array("Q"), array("Q", [0])
    with (folder / "fates.jsonl").open("wb") as file:
        for id, fate in fates:
            keys.append(_key(id))
            line = f"{json.dumps([id, fate.kept, fate.similarity, fate.duplicates])}\n"
            ends.append(ends[-1] + file.write(line.encode()))
    index = np.empty(len(keys), _INDEX)
    index["id"], index["start"], index["end"] = keys, ends[:-1], ends[1:]
    np.save(folder / "index.npy", index[np.argsort(index["id"], kind="stable")])
    (folder / "figures.json").write_text(json.dumps(figures), encoding="utf-8")


class Fates:
    """What `write_fates` wrote."""

    def __init__(self, folder: Path) -> None:
        self._index = np.load(folder / "index.npy", mmap_mode="r")
        self._keys = self._index["id"]
        if len(self._keys):
            self._lines = np.memmap(folder / "fates.jsonl", np.uint8, "r")
        self.figures: dict[str, Any] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))

    def of(self, id: str) -> Fate:
        """A row's."""
        key = np.uint64(_key(id))
        place = int(np.searchsorted(self._keys, key))
        while place < len(self._keys) and self._keys[place] == key:
            _, start, end = self._index[place].tolist()
            written, *fate = json.loads(self._lines[start:end].tobytes())
            if written == id:
                return Fate(*fate)
            place += 1
        return Fate()


def _key(id: str) -> int:
    data = id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
