"""What operators that leave out rows with evaluation items share: the items, and what becomes of a row that has one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from aftertrain.core.benchmark.rows import digest
from aftertrain.core.errors import Unavailable
from aftertrain.core.ground.reading import read_json
from aftertrain.core.operator import Dropped, Operator, Row
from aftertrain.core.overlap.files import evaluations_of
from aftertrain.core.overlap.items import Evaluation, distinct_sets
from aftertrain.core.overlap.questions import reasons, sets_of
from aftertrain.core.records import JSON
from aftertrain.core.settings import Builder
from aftertrain.plugins.contamination.settings import LookingSettings

FLAGGED, FIGURES = "flagged.json", "figures.json"
SHOWN = 300
"""Characters of each text that the evidence holds."""
LIMIT = 4 << 30
"""Bytes of what was learnt."""
P = TypeVar("P", bound=LookingSettings)


class Looking(Operator[P]):
    """Leaves out rows that its `learn` has flagged: by row id, in `FLAGGED`, with what all come to in `FIGURES`.

    A flag has `evaluation`, `item`, `share`, `how`, and `also`: further items as `evaluation/item`.
    """

    finds = ("items",)
    learns = True

    def __init__(self, settings: P, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._flagged: Mapping[str, Mapping[str, Any]] = {}
        self._figures: Mapping[str, JSON] = {}

    @cached_property
    def sets(self) -> tuple[list[Evaluation], dict[str, str]]:
        """Evaluation sets, and why others are missing."""
        sets = [each for file in self.settings.files for each in evaluations_of(Path(file), self.settings.columns)]
        asked, missing = sets_of(self.settings.against, self.builder, self.settings.data)
        if missing and self.settings.missing == "stop":
            raise next(iter(missing.values()))
        sets += [evaluation for _, evaluation in asked]
        if not sets:
            raise Unavailable(f"none of the questions are here: {reasons(missing):.2000}")
        return distinct_sets(sets), {name: str(error) for name, error in missing.items()}

    def fingerprint(self) -> str:
        """Of all items that are looked for."""
        sets, missing = self.sets
        return digest([[[each.name, each.digest] for each in sets], sorted(missing)])

    def check(self) -> None:
        """The questions are here."""
        _ = self.sets

    def recall(self, state: Path) -> None:
        """What was found."""
        self._flagged = read_json(state / FLAGGED, dict[str, dict[str, Any]], limit=LIMIT)
        self._figures = read_json(state / FIGURES, dict[str, Any])

    def figures(self) -> Mapping[str, JSON]:
        """What all rows together come to, by evaluation."""
        return self._figures

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        """Each row, or that it has an item."""
        for row in rows:
            found = self._flagged.get(row.id)
            if found is None:
                yield row
            elif self.settings.found == "drop":
                yield row.drop("whole item" if found["how"] == "whole" else "evaluation item", **found)
            else:
                yield row.with_facts({"items": [f"{found['evaluation']}/{found['item']}", *found["also"]]})
