"""Data sets of lm-eval's tasks from a folder of benchmarks, by the rule that all our benchmarks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.benchmark.source import Source, mapped
from aftertrain.core.errors import DataError, Unavailable, Unreachable
from aftertrain.core.ground.hub import from_cache_when_cut_off

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

PACKAGED = ("json", "csv", "parquet", "arrow", "text", "xml", "webdataset", "imagefolder", "audiofolder", "pandas")
"""What `datasets` calls readers of files, not data sets."""
Leaves = Mapping[str, Mapping[str, Any]]
"""Settings of tasks by their names."""


@contextmanager
def data_sets(data: str | None, leaves: Leaves) -> Iterator[None]:
    """In the block, data sets of the hub are read from the folder `data`, which stands for it; None takes the hub.

    Tasks load them by `datasets.load_dataset`, from lm-eval or from code of their own, so that this function is where
    all of them can be given rows.
    """
    import datasets

    original: Callable[..., Any] = datasets.load_dataset

    def load(path: str, name: str | None = None, *args: Any, **options: Any) -> Any:
        if path in PACKAGED or Path(path).exists():
            return original(path, name, *args, **options)
        if data is not None:
            splits = _from_folder(Path(data), path, name, leaves)
            wanted = options.get("split")
            return splits if wanted is None else splits[wanted]
        named = f"{path} (config {name or 'default'})"
        cure = f"; give it by folder: --data DIR (setting 'data') with DIR/{path}/{name or 'default'}/SPLIT.jsonl"
        try:
            with from_cache_when_cut_off(path):
                return original(path, name, *args, **options)
        except (ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
            raise Unreachable(
                f"{named} is neither in the local cache nor to be had from the hub: {error}{cure}"
            ) from error
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise DataError(f"{named}: cannot be loaded: {error}{cure}") from error

    datasets.load_dataset = load
    try:
        yield
    finally:
        datasets.load_dataset = original


def splits_of(settings: Mapping[str, Any]) -> list[str]:
    """Splits that a task names, the one that is scored first."""
    shots = settings.get("fewshot_config") or {}
    names = [
        *(settings.get(f"{part}_split") for part in ("test", "validation", "training", "fewshot")),
        shots.get("split") if isinstance(shots, Mapping) else None,
    ]
    return list(dict.fromkeys(name for name in names if name))


def _from_folder(folder: Path, hub: str, config: str | None, leaves: Leaves) -> DatasetDict:
    import datasets

    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of benchmarks")
    tasks = {
        name: splits_of(settings)
        for name, settings in leaves.items()
        if (settings.get("dataset_path"), settings.get("dataset_name")) == (hub, config)
    }
    entries = mapped(folder)
    task = next((name for name in tasks if name in entries), next(iter(tasks), hub))
    wanted = list(dict.fromkeys(split for splits in tasks.values() for split in splits))
    wanted = wanted or _there(folder / hub / (config or "default"))
    scored = {splits[0] for splits in tasks.values() if splits} or set(wanted)
    splits: dict[str, Dataset] = {}
    for split in wanted:
        # A file that is of no split in particular is the one that is scored, and no source of worked examples.
        if task in entries and "{split}" not in entries[task].file and split != wanted[0]:
            continue
        try:
            rows = Source(hub, config or "default", split).rows(task, str(folder))
        except Unavailable:
            if split in scored:
                raise
            continue
        splits[split] = datasets.Dataset.from_list([dict(row.fields) for row in rows])
    if not splits:
        raise Unavailable(f"{folder}: task {task!r} needs {hub}/{config or 'default'}/SPLIT.jsonl there")
    return _with_empty(splits, wanted)


def _there(folder: Path) -> list[str]:
    return sorted({file.name.partition(".")[0] for file in folder.glob("*.*")})


def _with_empty(splits: Mapping[str, Dataset], wanted: Sequence[str]) -> DatasetDict:
    """Splits that are named and not there hold no rows: a task may name one for worked examples that it never shows."""
    import datasets

    some = next(iter(splits.values()))
    return datasets.DatasetDict({split: splits.get(split, some.select([])) for split in wanted})
