"""Data sets built without the registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from aftertrain.core.settings import Use


def table() -> dict[str, tuple[type, type]]:
    """Component and settings by name."""
    from aftertrain.plugins.data import delimited, hub, json_array, jsonl, mixture, parquet, settings
    from aftertrain.plugins.data.sources.settings import SourceSettings
    from aftertrain.plugins.data.sources.source import Source

    return {
        "jsonl": (jsonl.Jsonl, settings.JsonlSettings),
        "parquet": (parquet.Parquet, settings.ParquetSettings),
        "csv": (delimited.Csv, settings.CsvSettings),
        "json": (json_array.JsonArray, settings.JsonSettings),
        "hub": (hub.Hub, settings.HubSettings),
        "mixture": (mixture.Mixture, settings.MixtureSettings),
        "source": (Source, SourceSettings),
    }


class DirectBuilder:
    """Resolves and builds from the table above."""

    def resolve(self, kind: str, value: dict[str, Any]) -> Use[Any]:
        value = dict(value)
        name = value.pop("use")
        kind_of_settings = TypeAdapter(table()[name][1])
        return Use(kind, name, kind_of_settings.validate_python(value, context={"resolver": self}))

    def build(self, use: Use[Any]) -> Any:
        return table()[use.name][0](use.settings, self)


@pytest.fixture
def dataset() -> Callable[..., Any]:
    """`dataset("jsonl", path=…, format=…)`."""
    builder = DirectBuilder()
    return lambda use, **settings: builder.build(builder.resolve("dataset", {"use": use, **settings}))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write(rows, name)`: a JSON-lines file; rows that are texts are written as they are."""

    def make(rows: Sequence[Any], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return make
