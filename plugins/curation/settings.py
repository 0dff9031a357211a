"""Settings of the stage `curate`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from aftertrain.core.dataset import Dataset
from aftertrain.core.operator import Operator
from aftertrain.core.rows.files import Format
from aftertrain.core.settings import PositiveInt, Use, unhashed
from aftertrain.core.stage import SeededSettings


class CurateSettings(SeededSettings):
    """Which rows, through which operators, written how."""

    data: Use[Dataset[Any]] = Field(description="The rows; a mixture for several sources.")
    operators: tuple[Use[Operator[Any]], ...] = Field(
        (), description="What the rows go through, in this order; none only counts and writes them."
    )
    format: Format = Field("jsonl", description="Of the shards: jsonl, or parquet; datasets.load_dataset reads both.")
    shard_rows: PositiveInt = Field(
        10_000,
        description="Rows of the source in a shard, fewer where texts are long (64 Mi characters): what one process "
        "works on, and what is redone after a kill.",
    )
    workers: PositiveInt | None = unhashed(
        None, description="Processes that work on shards; null is one for each core. It changes no byte."
    )
