"""Training files as rows of texts to be compared, whatever their columns; memory does not grow with them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import DataError
from aftertrain.core.overlap.items import TrainingRow
from aftertrain.core.records import Role

if TYPE_CHECKING:
    from aftertrain.plugins.data.row import Row
    from aftertrain.plugins.data.table import Table

ROLES: Mapping[str, Role] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "system": "system",
    "tool": "tool",
}
TURNS = ("messages", "conversations", "conversation")
PROMPTS = ("prompt", "instruction", "input", "question", "problem", "query", "text")
"""Columns that hold what a user says, or a text without turns; all of them are looked at."""
PAIRS = ("chosen", "rejected")
"""Columns of turns that begin with what the user says."""
READERS = {
    ".jsonl": "jsonl:Jsonl:JsonlSettings",
    ".json": "json_array:JsonArray:JsonSettings",
    ".parquet": "parquet:Parquet:ParquetSettings",
    ".csv": "delimited:Csv:CsvSettings",
}
TEXT = ".txt"


class TrainingFiles:
    """Rows of files, one after another.

    Args:
        paths: JSON lines, a JSON list, parquet (or a folder of such files), CSV, or `.txt` with a row a line.
        roles: turns whose texts are compared.

    Attributes:
        broken: rows that could not be read so far: where they stand, and why. They are counted, and nothing else is
            known of them.
    """

    def __init__(self, paths: Sequence[Path], roles: Sequence[Role]) -> None:
        self.paths, self._roles = tuple(paths), frozenset(roles)
        self.broken: list[tuple[str, str]] = []

    def __iter__(self) -> Iterator[TrainingRow]:
        self.broken.clear()
        for path in self.paths:
            yield from _lines(path, self.broken) if path.name.endswith((TEXT, f"{TEXT}.gz")) else self._rows(path)

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file's bytes, in hex, by its path."""
        from aftertrain.plugins.data.table import file_digest

        return {str(path): _table(path).stored() if path.is_dir() else file_digest(path) for path in self.paths}

    def _rows(self, path: Path) -> Iterator[TrainingRow]:
        stem, number = path.name.split(".")[0], 0
        for row in _table(path).rows():
            number += 1
            if row.broken is not None:
                self.broken.append((row.where, row.broken[1]))
                continue
            texts = self._texts(row)
            if texts is None:
                self.broken.append((row.where, f"no turns and no text; it has {', '.join(map(str, row.values))}"))
                continue
            values = row.values
            id_, source = values.get("id"), values.get("source")
            yield TrainingRow(
                row.where if id_ is None else str(id_),
                source if isinstance(source, str) and source else stem,
                tuple(text for _, text in texts),
                tuple(turn for turn, _ in texts),
                row.where,
            )
        if number == 0:
            raise DataError(f"{path}: no rows")

    def _texts(self, row: Row) -> list[tuple[int, str]] | None:
        """Turns by their places; None where the row has nothing that is known."""
        values = row.values
        for column in TURNS:
            if isinstance(turns := values.get(column), list):
                return self._of_turns(turns)
        found = list[tuple[int, str]]()
        known = False
        for column in PROMPTS:
            value = values.get(column)
            known |= isinstance(value, str | list)
            if isinstance(value, str):
                found.append((len(found), value))
            elif isinstance(value, list):
                found += self._of_turns(value)
        if not known:
            for column in PAIRS:
                if isinstance(value := values.get(column), list):
                    return self._of_turns(value)
                if isinstance(value, str):
                    return [(0, value)]
        return found if known else None

    def _of_turns(self, turns: Sequence[Any]) -> list[tuple[int, str]]:
        texts = []
        for place, turn in enumerate(turns):
            if isinstance(turn, Mapping):
                text = turn.get("content", turn.get("value"))
                if isinstance(text, str) and ROLES.get(turn.get("role", turn.get("from"))) in self._roles:
                    texts.append((place, text))
        return texts


def _table(path: Path) -> Table[Any]:
    """The reader of a file's kind, which tells broken rows as it tells them before training."""
    from importlib import import_module

    from aftertrain.registry.builder import ComponentBuilder
    from aftertrain.registry.discovery import installed

    name = path.name.removesuffix(".gz")
    end = ".parquet" if path.is_dir() else next((end for end in READERS if name.endswith(end)), None)
    if end is None:
        raise DataError(f"{path}: is read by its name, which must end in {', '.join((*READERS, TEXT))}")
    module, kind, settings = READERS[end].split(":")
    chosen = getattr(import_module("aftertrain.plugins.data.settings"), settings)(path=str(path.absolute()))
    table: Table[Any] = getattr(import_module(f"aftertrain.plugins.data.{module}"), kind)(
        chosen, ComponentBuilder(installed())
    )
    return table


def _lines(path: Path, broken: list[tuple[str, str]]) -> Iterator[TrainingRow]:
    from aftertrain.plugins.data.jsonl import long_lines, opened
    from aftertrain.plugins.data.row import LONGEST, TOO_LONG

    stem = path.name.split(".")[0]
    try:
        with opened(str(path)) as file:
            for number, line in enumerate(long_lines(file), 1):
                where = f"{path}:{number}"
                if len(line) > LONGEST:
                    broken.append((where, TOO_LONG[1]))
                    continue
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    broken.append((where, f"not UTF-8 at byte {error.start} of the line"))
                    continue
                if text.strip():
                    yield TrainingRow(f"{stem}:{number}", stem, (text,), (0,), where)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
