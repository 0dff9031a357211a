"""Rows that a stage of the same recipe made."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from aftertrain.core.dataset import BadRow, Dataset
from aftertrain.core.operator import Row
from aftertrain.core.records import Record
from aftertrain.core.rows.files import read_shard
from aftertrain.core.rows.folder import ROWS, read_contents, read_rows
from aftertrain.core.rows.made import StageRowsSettings


class StageRows(Dataset[StageRowsSettings]):
    """The records of another stage's artifact, as that stage left them.

    Whatever is asked of it before that stage is done raises `NotMade`.
    """

    Config = StageRowsSettings

    @property
    def record_type(self) -> type[Record]:
        return read_contents(self.settings.folder).record_type

    def __iter__(self) -> Iterator[Any]:
        for row in read_rows(self.settings.folder):
            yield row.record

    def made_rows(self) -> Iterator[Row | BadRow]:
        """As the stage left them, facts and history included."""
        return read_rows(self.settings.folder)

    def fact_names(self) -> Collection[str] | None:
        """As the stage wrote them down."""
        return read_contents(self.settings.folder).facts

    def fingerprint(self) -> str:
        """SHA-256 over the shards."""
        return read_contents(self.settings.folder).digest

    def where(self, ids: Collection[str]) -> dict[str, str]:
        """Shard and place of rows."""
        folder, wanted = self.settings.folder, set(ids)
        contents = read_contents(folder)
        return {
            row.id: f"{folder / ROWS / shard.name}:{number}"
            for shard in contents.shards
            for number, row in enumerate(read_shard(folder / ROWS / shard.name, contents.record), 1)
            if row.id in wanted
        }

    def __len__(self) -> int:
        return read_contents(self.settings.folder).rows
