"""Rows that were seen, by number: what is small in memory, what is large in files of a scratch folder."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from aftertrain.plugins.quality.minhash import band_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 1024
"""Signatures that are cut into bands together."""


class Seen:
    """Ids, digests, worth, and, where they are given, signatures and sets of hashes.

    Args:
        k: places of a signature; 0 where there are none.
        r: places of a band.

    Attributes:
        worth: of each row, NaN for none.
    """

    def __init__(self, folder: Path, k: int = 0, r: int = 1) -> None:
        self._folder, self._k, self._r = folder, k, r
        self._digests, self.worth = array("Q"), array("d")
        self._id_ends, self._set_ends = array("Q", [0]), array("Q", [0])
        self._waiting: list[NDArray[np.uint32]] = []

    def __enter__(self) -> Self:
        with ExitStack() as files:
            self._ids = files.enter_context((self._folder / "ids").open("w+b"))
            if self._k:
                self._sets = files.enter_context((self._folder / "sets").open("wb"))
                self._signatures = files.enter_context((self._folder / "signatures").open("wb"))
                bands = range(self._k // self._r)
                self._bands = [files.enter_context((self._folder / f"band-{band}").open("wb")) for band in bands]
            self._files = files.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def __len__(self) -> int:
        return len(self.worth)

    def add(self, id: str, digest: bytes, worth: float) -> None:
        """A row; the digest has 16 bytes."""
        data = id.encode("utf-8", "surrogatepass")
        self._ids.write(data)
        self._id_ends.append(self._id_ends[-1] + len(data))
        self._digests.frombytes(digest)
        self.worth.append(worth)

    def add_set(self, hashes: NDArray[np.uint64], signature: NDArray[np.uint32]) -> None:
        """The set of the row that was added last, and its signature."""
        self._sets.write(hashes.tobytes())
        self._set_ends.append(self._set_ends[-1] + len(hashes))
        self._waiting.append(signature)
        if len(self._waiting) == _AT_ONCE:
            self._cut()

    def _cut(self) -> None:
        if not self._waiting:
            return
        signatures = np.stack(self._waiting)
        self._waiting.clear()
        self._signatures.write(signatures.tobytes())
        for file, keys in zip(self._bands, band_keys(signatures, self._r).T, strict=True):
            file.write(keys.tobytes())

    def close(self) -> None:
        """No more are added; what was written can be read."""
        if self._k:
            self._cut()
            for file in (self._sets, self._signatures, *self._bands):
                file.flush()

    @property
    def digests(self) -> NDArray[np.uint64]:
        """`[rows, 2]`."""
        return np.frombuffer(self._digests, np.uint64).reshape(-1, 2)

    @property
    def sizes(self) -> NDArray[np.uint64]:
        """Of each row's set."""
        ends = np.frombuffer(self._set_ends, np.uint64)
        return ends[1:] - ends[:-1]

    def id(self, row: int) -> str:
        """Of a row."""
        self._ids.seek(self._id_ends[row])
        return self._ids.read(self._id_ends[row + 1] - self._id_ends[row]).decode("utf-8", "surrogatepass")

    def sets(self) -> NDArray[np.uint64]:
        """All sets, one after the other; a row's begins where `set_ends` says."""
        return np.memmap(self._folder / "sets", np.uint64, "r")

    @property
    def set_ends(self) -> array[int]:
        """Where the sets end; the first entry is 0."""
        return self._set_ends

    def signatures(self) -> NDArray[np.uint32]:
        """`[rows, k]`."""
        return np.memmap(self._folder / "signatures", np.uint32, "r").reshape(-1, self._k)

    def bands(self) -> Iterator[NDArray[np.uint64]]:
        """For each band the keys of all rows."""
        for band in range(self._k // self._r):
            yield np.fromfile(self._folder / f"band-{band}", np.uint64)
