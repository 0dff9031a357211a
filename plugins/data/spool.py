"""Records put aside on disk, to be taken in any order: ten million of them are eighty megabytes of memory."""

from __future__ import annotations

import pickle
import tempfile
from array import array
from collections.abc import Iterable
from typing import Any


class Spool:
    """A temporary file of pickled records; it goes when the block ends, or with the process."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="aftertrain-")  # noqa: SIM115  closed with the spool
        self._starts = array("q", [0])

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._starts) - 1

    def extend(self, records: Iterable[Any]) -> int:
        """Put records at the end; returns how many there are now."""
        place = self._file.seek(self._starts[-1])
        for record in records:
            place += self._file.write(pickle.dumps(record, protocol=pickle.HIGHEST_PROTOCOL))
            self._starts.append(place)
        return len(self)

    def __getitem__(self, number: int) -> Any:
        self._file.seek(self._starts[number])
        return pickle.loads(self._file.read(self._starts[number + 1] - self._starts[number]))
