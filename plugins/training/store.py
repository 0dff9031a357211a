"""Tokenised rows in memory or memory-mapped: ten million rows are no Python objects."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aftertrain.core.packed.packing import Segment
from aftertrain.plugins.training.columns import faults_of, schema
from aftertrain.plugins.training.spans import Ints, Span

if TYPE_CHECKING:
    import pyarrow as pa


def read(path: Path) -> Store:
    """A store whose tokens stay on disk until they are asked for.

    Raises:
        pyarrow.ArrowException: the file is no Arrow file of this schema.
    """
    import pyarrow as pa

    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    if reader.schema != schema():
        raise pa.ArrowInvalid(f"{path} has other columns")
    return Store([reader.get_batch(i) for i in range(reader.num_record_batches)])


class Store:
    """Segments by number, and what policies look at as vectors over all segments.

    Attributes:
        first: number of the first row.
        n_rows: rows that were read.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], first: int = 0) -> None:
        everything = list(batches)
        self.faults = tuple(fault for batch in everything for fault in faults_of(batch))
        self._parts = [_Part(batch) for batch in everything if len(batch)]
        self._ends = np.cumsum([len(part) for part in self._parts], dtype=np.int64)
        last = [batch.column("row")[-1].as_py() for batch in everything if len(batch)]
        self.first = first
        self.n_rows: int = 1 + max(last, default=first - 1) - first

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._parts else 0

    @cached_property
    def atom_starts(self) -> Ints:
        """Number of each atom's first segment."""
        return np.flatnonzero(self._column("starts")).astype(np.int64)

    @property
    def atom_rows(self) -> Ints:
        """Row of each atom."""
        return self._column("rows")[self.atom_starts]

    @property
    def atom_sizes(self) -> Ints:
        """Segments of each atom."""
        return np.diff(self.atom_starts, append=len(self))

    @cached_property
    def lengths(self) -> Ints:
        """Tokens of each segment."""
        return self._column("lengths")

    @cached_property
    def first_targets(self) -> Ints:
        """Place of each segment's first target."""
        return self._column("first_targets")

    @cached_property
    def target_counts(self) -> Ints:
        """Targets of each segment."""
        return self._column("target_counts")

    @cached_property
    def differs(self) -> Ints:
        """First token in which a pair's segments differ, 0 for a single one."""
        return self._column("differs")

    @cached_property
    def sources(self) -> tuple[list[str], Ints]:
        """Names of the data sets, and for each segment the number of its own."""
        names: dict[str, int] = {}
        codes = [np.zeros(0, np.int64)]
        for part in self._parts:
            own, own_codes = part.sources
            codes.append(np.array([names.setdefault(name, len(names)) for name in own], np.int64)[own_codes])
        return list(names), np.concatenate(codes)

    @property
    def largest_id(self) -> int:
        """Largest token id of all segments."""
        return max((int(part.largest_id.max(initial=0)) for part in self._parts), default=0)

    def sample_id(self, index: int) -> str:
        """Id of a segment's record."""
        part, place = self._find(index)
        return part.text("sample_id", place)

    def segment(self, index: int, span: Span) -> Segment:
        """One segment, of whose tokens `span` is left."""
        part, place = self._find(index)
        return part.segment(place, span)

    def span(self, index: int) -> Span:
        """Tokens and targets of one segment, as views into the store."""
        part, place = self._find(index)
        return part.span(place)

    def _find(self, index: int) -> tuple[_Part, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        part = self._parts[number]
        return part, index - int(self._ends[number]) + len(part)

    def _column(self, name: str) -> Ints:
        columns = [getattr(part, name) for part in self._parts]
        return np.concatenate(columns) if columns else np.zeros(0, np.int64)


class _Part:
    """The segments of one record batch, as views into its memory."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        import pyarrow.compute as pc

        # Batches without unusable rows stay where they are, on disk; the few others are copied without these.
        self._batch = (
            batch if batch.column("reason").null_count == len(batch) else batch.filter(pc.is_null(batch["reason"]))
        )
        self._tokens, self._offsets = _lists(self._batch.column("token_ids"))
        self._runs, self._run_offsets = _lists(self._batch.column("targets"))

    def __len__(self) -> int:
        return len(self._batch)

    def text(self, name: str, place: int) -> str:
        return str(self._batch.column(name)[place].as_py())

    @property
    def starts(self) -> NDArray[np.bool_]:
        return np.asarray(self._batch.column("starts").to_numpy(zero_copy_only=False), dtype=np.bool_)

    @property
    def rows(self) -> Ints:
        return np.asarray(self._batch.column("row"), dtype=np.int64)

    @property
    def lengths(self) -> Ints:
        return np.diff(self._offsets).astype(np.int64)

    @property
    def first_targets(self) -> Ints:
        return self._runs[self._run_offsets[:-1]].astype(np.int64)

    @property
    def target_counts(self) -> Ints:
        signed = self._runs.astype(np.int64)
        signed[0::2] *= -1
        return np.diff(np.append(0, signed.cumsum())[self._run_offsets])

    @property
    def differs(self) -> Ints:
        return np.asarray(self._batch.column("differs"), dtype=np.int64)

    @property
    def largest_id(self) -> Ints:
        return np.asarray(self._batch.column("largest_id"), dtype=np.int64)

    @property
    def sources(self) -> tuple[list[str], Ints]:
        encoded = self._batch.column("source").dictionary_encode()
        return encoded.dictionary.to_pylist(), np.asarray(encoded.indices, dtype=np.int64)

    def span(self, place: int) -> Span:
        return Span(
            self._tokens[self._offsets[place] : self._offsets[place + 1]],
            self._runs[self._run_offsets[place] : self._run_offsets[place + 1]],
        )

    def segment(self, place: int, span: Span) -> Segment:
        column = self._batch.column
        return Segment(
            self.text("sample_id", place),
            span.token_ids.tolist(),
            span.mask().tolist(),
            self.text("source", place),
            role=column("role")[place].as_py(),
            group=column("row")[place].as_py(),
            label=column("label")[place].as_py(),
            margin=column("margin")[place].as_py(),
            cut=int(self._offsets[place + 1] - self._offsets[place]) - len(span.token_ids),
        )


def _lists(column: pa.ListArray) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    return column.values.to_numpy(), column.offsets.to_numpy()
