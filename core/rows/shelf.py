"""The folder of rows that a stage hands on, as it is written: shards, `data.json`, and the data card beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from aftertrain.core.operator import Row
from aftertrain.core.rows.files import Format, part, write_rows, write_text
from aftertrain.core.rows.folder import ROWS, Contents, Shard, shard_of, write_contents

CARD = "README.md"
SHOWN = 160
"""Characters of a cell of the card."""


class Shelf:
    """Rows on their way into a folder, shard after shard.

    Args:
        folder: which is not there yet.
    """

    def __init__(self, folder: Path, format: Format) -> None:
        self.folder, self._format = folder, format
        self._shards: list[Shard] = []
        self._sources, self._licenses, self._facts = Counter[str](), Counter[str](), set[str]()
        self._record = ""
        self.characters = self.words = 0
        (folder / ROWS).mkdir(parents=True)

    @property
    def rows(self) -> int:
        """How many there are so far."""
        return sum(shard.rows for shard in self._shards)

    def put(self, number: int, record: str, rows: Iterable[Row]) -> None:
        """Write a shard.

        Args:
            number: of the shard, which names its file.
            record: name of the record type.

        Raises:
            RunError: the disk is full or the folder unwritable.
        """
        self._record = record
        path = self.folder / ROWS / f"{part(number)}.{self._format}"
        self._shards.append(shard_of(path, write_rows(path, self._counted(rows))))

    def close(self) -> Contents:
        """Write `data.json`, by which the folder is one of rows; returns what it says."""
        sources, licenses = dict(sorted(self._sources.items())), dict(sorted(self._licenses.items()))
        contents = Contents(self._record, tuple(self._shards), sources, licenses, tuple(sorted(self._facts)))
        write_contents(self.folder, contents)
        return contents

    def card(self, name: str, stage: str, contents: Contents, more: Iterable[str]) -> None:
        """Write the data card, with the header by which `datasets.load_dataset` finds the rows.

        Args:
            name: of the stage in its recipe.
            stage: the component's name.
            more: further lines of Markdown.
        """
        lines = [
            "---",
            "configs:",
            "- config_name: default",
            "  data_files:",
            "  - split: train",
            f"    path: {ROWS}/*",
            "---",
            f"# {name}",
            "",
            f"{contents.rows:,} rows of the type {contents.record}, made by aftertrain's stage `{stage}`.",
            "",
            f"Characters {self.characters:,}, words {self.words:,}"
            f" ({self.words / max(1, contents.rows):,.1f} a row). SHA-256 of the shards: `{contents.digest}`.",
            "",
            *table("Source", contents.sources),
            *table("Licence", {key or "not stated": count for key, count in contents.licenses.items()}),
            *more,
        ]
        write_text(self.folder / CARD, "\n".join(lines))

    def _counted(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            self._sources[row.source] += 1
            self._licenses[row.record.license or ""] += 1
            self._facts.update(row.facts)
            texts = row.texts
            self.characters += sum(map(len, texts))
            self.words += sum(len(text.split()) for text in texts)
            yield row


def table(head: str, counts: Mapping[str, int], unit: str = "rows") -> list[str]:
    """Counts with their shares, as a table of Markdown."""
    total = sum(counts.values())
    rows = [f"| {cell(name)} | {count:,} | {100 * count / total:.1f} % |" for name, count in counts.items()]
    return [f"| {head} | {unit} | share |", "|---|---|---|", *rows, ""]


def cell(text: str) -> str:
    """A text as it may stand in a table's cell.

    >>> cell("a | b\\nc")
    'a \\\\| b c'
    """
    short = " ".join(text.split())
    return (short if len(short) <= SHOWN else f"{short[:SHOWN]}…").replace("|", "\\|")
