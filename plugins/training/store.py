"""Tokenised rows in memory or memory-mapped: ten million rows are no Python objects."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

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
        import pyarrow as pa
        import pyarrow.compute as pc

        everything = [batch for batch in batches if len(batch)]
        self.faults = tuple(fault for batch in everything for fault in faults_of(batch))
        self.first = first
        self.n_rows: int = 1 + max((batch["row"][-1].as_py() for batch in everything), default=first - 1) - first
        # Batches without unusable rows stay where they are, on disk; the few others are copied without these.
        usable = [
            batch if batch["reason"].null_count == len(batch) else batch.filter(pc.is_null(batch["reason"]))
            for batch in everything
        ]
        table = pa.Table.from_batches(usable, schema())
        self._columns: dict[str, pa.ChunkedArray] = dict(zip(table.column_names, table.columns, strict=True))

    def __len__(self) -> int:
        return len(self._columns["row"])

    @cached_property
    def atom_starts(self) -> Ints:
        """Number of each atom's first segment."""
        return np.flatnonzero(self._columns["starts"].to_numpy()).astype(np.int64)

    @property
    def atom_rows(self) -> Ints:
        """Row of each atom."""
        return self._numbers(self._columns["row"])[self.atom_starts]

    @property
    def atom_sizes(self) -> Ints:
        """Segments of each atom."""
        return np.diff(self.atom_starts, append=len(self))

    @cached_property
    def lengths(self) -> Ints:
        """Tokens of each segment."""
        return self._lengths("token_ids")

    @cached_property
    def first_targets(self) -> Ints:
        """Place of each segment's first target."""
        import pyarrow.compute as pc

        return self._numbers(pc.list_element(self._columns["targets"], 0))

    @cached_property
    def target_counts(self) -> Ints:
        """Targets of each segment."""
        import pyarrow.compute as pc

        bounds = self._numbers(pc.list_flatten(self._columns["targets"]))
        ends = np.cumsum(self._lengths("targets"))
        return np.diff(np.append(0, np.cumsum(bounds[1::2] - bounds[0::2]))[ends // 2], prepend=0)

    @cached_property
    def differs(self) -> Ints:
        """First token in which a pair's segments differ, 0 for a single one."""
        return self._numbers(self._columns["differs"])

    @cached_property
    def sources(self) -> tuple[list[str], Ints]:
        """Names of the data sets, and for each segment the number of its own."""
        encoded = self._columns["source"].dictionary_encode().combine_chunks()
        return encoded.dictionary.to_pylist(), self._numbers(encoded.indices)

    @property
    def largest_id(self) -> int:
        """Largest token id of all segments."""
        return int(self._numbers(self._columns["largest_id"]).max(initial=0))

    def sample_id(self, number: int) -> str:
        """Id of a segment's record."""
        return str(self._columns["sample_id"][number].as_py())

    def segment(self, number: int, span: Span) -> Segment:
        """One segment, of whose tokens `span` is left."""
        of = {name: self._columns[name][number].as_py() for name in ("source", "role", "row", "label", "margin")}
        return Segment(
            self.sample_id(number),
            span.token_ids.tolist(),
            span.mask().tolist(),
            of["source"],
            role=of["role"],
            group=of["row"],
            label=of["label"],
            margin=of["margin"],
            cut=len(self._columns["token_ids"][number]) - len(span.token_ids),
        )

    def span(self, number: int) -> Span:
        """Tokens and targets of one segment, as views into the store."""
        token_ids, targets = (self._columns[name][number].values.to_numpy() for name in ("token_ids", "targets"))
        return Span(token_ids, targets)

    def _lengths(self, name: str) -> Ints:
        import pyarrow.compute as pc

        return self._numbers(pc.list_value_length(self._columns[name]))

    @staticmethod
    def _numbers(column: pa.Array | pa.ChunkedArray) -> Ints:
        numbers: Ints = column.to_numpy().astype(np.int64)
        return numbers
