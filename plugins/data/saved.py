"""Folders that `datasets.save_to_disk` wrote, which `datasets.load_dataset` does not read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import DataError, unknown

if TYPE_CHECKING:
    from datasets import Dataset as HubDataset

SPLITS, STATE = "dataset_dict.json", "state.json"
"""What such a folder holds: of several splits, or of one."""


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return any((folder / name).is_file() for name in (SPLITS, STATE))


def load_saved(folder: Path, split: str, *, given: bool) -> HubDataset:
    """The rows of a split, or of a slice such as `train[:100]`.

    Args:
        given: the recipe names the split; otherwise a folder of one split is read whatever it is called.

    Raises:
        DataError: the folder cannot be read, or has no such split.
    """
    import datasets
    from pyarrow import ArrowException

    try:
        saved: Any = datasets.load_from_disk(str(folder))
        several = isinstance(saved, datasets.DatasetDict)
        splits = dict(saved) if several else {str(saved.split or "train"): saved}
        if not given and not several:
            return next(iter(splits.values()))
        parts = datasets.ReadInstruction.from_spec(split)
        wanted = split.partition("[")[0]
        if "+" not in split and wanted not in splits:
            raise DataError(f"data set {str(folder)!r}: {unknown('split', wanted, splits)}")
        ranges = parts.to_absolute({name: len(rows) for name, rows in splits.items()})
        chosen = [splits[part.splitname].select(range(part.from_ or 0, _end(part, splits))) for part in ranges]
        return datasets.concatenate_datasets(chosen)
    except (OSError, ValueError, KeyError, TypeError, AssertionError, ArrowException) as error:
        raise DataError(
            f"data set {str(folder)!r}: a folder of datasets.save_to_disk that cannot be read: {error}; save it again"
        ) from error


def _end(part: Any, splits: dict[str, Any]) -> int:
    return len(splits[part.splitname]) if part.to is None else int(part.to)
