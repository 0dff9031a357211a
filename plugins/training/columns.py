"""Tokenised rows as Arrow record batches: each Arrow row is a segment, or a data row that cannot be used.

Targets are kept as runs `[start, stop)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.dataset import BadRow
from aftertrain.core.packed.packing import Atom
from aftertrain.core.text.chat import UnusableRow
from aftertrain.plugins.training.rows import Rules, TrainingRecord, atoms_of
from aftertrain.plugins.training.spans import runs_of

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be used: its number in the data set (from 0), id, one word for counts, and what is wrong."""

    row: int
    id: str
    reason: str
    message: str


@lru_cache(maxsize=1)
def schema() -> pa.Schema:
    """Columns of a batch. `differs` is the first token in which a pair's segments differ, 0 for a single one."""
    import pyarrow as pa

    return pa.schema(
        [
            ("row", pa.int64()),
            ("starts", pa.bool_()),
            ("sample_id", pa.string()),
            ("source", pa.string()),
            ("token_ids", pa.list_(pa.int32())),
            ("targets", pa.list_(pa.int32())),
            ("role", pa.int8()),
            ("label", pa.float32()),
            ("margin", pa.float64()),
            ("differs", pa.int32()),
            ("largest_id", pa.int32()),
            ("reason", pa.string()),
            ("message", pa.string()),
        ]
    )


def encode(
    tokenizer: PreTrainedTokenizerBase, records: Iterable[TrainingRecord | BadRow], first: int, rules: Rules
) -> pa.RecordBatch:
    """Tokenise records whose numbers in the data set go on from `first`."""
    entries: list[Fault | Atom] = []
    for number, record in enumerate(records, first):
        if isinstance(record, BadRow):
            entries.append(Fault(number, record.id, record.reason, record.message))
            continue
        try:
            entries += atoms_of(tokenizer, record, number, rules)
        except UnusableRow as error:
            entries.append(Fault(number, record.id, error.reason, str(error)))
    return record_batch(entries)


def record_batch(entries: Iterable[Fault | Atom]) -> pa.RecordBatch:
    """Atoms and rows that make none, in the order of their rows; an atom's row is its segments' group."""
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    for entry in entries:
        if isinstance(entry, Fault):
            rows.append({"row": entry.row, "sample_id": entry.id, "reason": entry.reason, "message": entry.message})
            continue
        differs = _differs(entry)
        rows += (
            {
                "row": segment.group,
                "starts": place == 0,
                "sample_id": segment.sample_id,
                "source": segment.source,
                "token_ids": segment.token_ids,
                "targets": runs_of(segment.loss_mask),
                "role": segment.role,
                "label": segment.label,
                "margin": segment.margin,
                "differs": differs,
                "largest_id": max(segment.token_ids),
            }
            for place, segment in enumerate(entry)
        )
    return pa.RecordBatch.from_pylist(rows, schema())


def faults_of(batch: pa.RecordBatch) -> Iterator[Fault]:
    """The rows of a batch that cannot be used."""
    if batch.column("reason").null_count == len(batch):
        return
    for row in batch.select(["row", "sample_id", "reason", "message"]).to_pylist():
        if row["reason"] is not None:
            yield Fault(row["row"], row["sample_id"], row["reason"], row["message"])


def write(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """Batches as an Arrow file."""
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema()) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _differs(atom: Atom) -> int:
    if len(atom) == 1:
        return 0
    one, other = (segment.token_ids for segment in atom)
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
