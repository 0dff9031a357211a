"""The rows of a task of any rows: those of its file, or of its data set by the one rule of benchmarks."""

from __future__ import annotations

from pathlib import Path

from aftertrain.core.benchmark import Row, Source
from aftertrain.core.benchmark.rows import read_file
from aftertrain.plugins.evaluation.settings import RowsSettings


def rows_of(settings: RowsSettings, task: str) -> list[Row]:
    """All rows in their order.

    Args:
        task: the component's name, under which a `data.yaml` may have an entry.

    Raises:
        DataError: there are none, or they cannot be read.
    """
    return split_of(settings, settings.split, task) if settings.path is None else read_file(Path(settings.path))


def split_of(settings: RowsSettings, split: str, task: str) -> list[Row]:
    """Those of a split of the data set."""
    assert settings.hub is not None, "settings say where rows are"
    return Source(settings.hub, settings.config, split).rows(task, settings.data)
