"""The stage `acme/short`: rows that are handed on, and rows that are left out, each in the stage's book."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from acme_aftertrain.settings import ShortSettings
from aftertrain.core.dataset import BadRow
from aftertrain.core.records import Artifact, PlanItem
from aftertrain.core.stage import PlanContext, Stage, StageContext, StageInput


class Short(Stage[ShortSettings]):
    """Done in one go. Leaves `data/rows.jsonl` with the ids of the rows it keeps."""

    Config = ShortSettings

    def inputs(self) -> Sequence[StageInput]:
        """It needs no model."""
        return ()

    @property
    def output(self) -> str:
        """A data set."""
        return "data"

    def fingerprints(self) -> Mapping[str, str]:
        """Of the data set."""
        return {"data": self.builder.build(self.settings.data).fingerprint()}

    def plan(self, context: PlanContext) -> list[PlanItem]:
        """How many rows there are."""
        return [PlanItem("rows", f"{len(self.builder.build(self.settings.data)):,}")]

    def rows(self) -> Iterable[Any]:
        """What is looked at."""
        return self.builder.build(self.settings.data).entries()

    def run(self, context: StageContext) -> Artifact:
        """Keep what is short."""
        context.book.expect("row", [row.id for row in self.builder.build(self.settings.data).entries()])
        kept = []
        for row in self.rows():
            if isinstance(row, BadRow):
                context.book.drop("row", row.reason, row.id)
            elif len(row.messages[-1].content) > self.settings.most:
                context.book.drop("row", "too long", row.id)
            else:
                context.book.end("row", "kept", row.id)
                kept.append({"id": row.id})
        folder = context.folder / "data"
        folder.mkdir(exist_ok=True)
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
        return Artifact("data", str(folder), context.name, "")
