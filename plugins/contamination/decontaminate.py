"""Rows that hold evaluation items (F6), found in one pass over all rows and left out with the evidence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from aftertrain.core.benchmark.rows import digest
from aftertrain.core.errors import Unavailable
from aftertrain.core.ground.reading import read_json
from aftertrain.core.operator import Dropped, Operator, Row
from aftertrain.core.overlap.evidence import evidence
from aftertrain.core.overlap.files import evaluations_of
from aftertrain.core.overlap.findings import findings
from aftertrain.core.overlap.index import EvaluationIndex
from aftertrain.core.overlap.items import Evaluation, distinct_sets, training_row
from aftertrain.core.overlap.questions import reasons, sets_of
from aftertrain.core.overlap.rules import Rule, rule_named
from aftertrain.core.overlap.scan import Flagged, Scan
from aftertrain.core.records import JSON
from aftertrain.core.settings import Builder
from aftertrain.plugins.contamination.settings import DecontaminateSettings

FLAGGED, FIGURES = "flagged.json", "figures.json"
SHOWN = 300
"""Characters of each text that the evidence holds."""
LIMIT = 4 << 30
"""Bytes of what was learnt."""


class Decontaminate(Operator[DecontaminateSettings]):
    """Leaves out rows of which one covers more than the threshold of an evaluation item.

    The first pass finds them, and what all rows together come to: shares by evaluation and source, C(D), C(s).
    """

    Config = DecontaminateSettings
    finds = ("items",)
    learns = True

    def __init__(self, settings: DecontaminateSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._flagged: Mapping[str, Mapping[str, Any]] = {}
        self._figures: Mapping[str, JSON] = {}

    @property
    def rule(self) -> Rule:
        """With the settings' own n and threshold."""
        return rule_named(self.settings.rule, n=self.settings.n, threshold=self.settings.threshold)

    @cached_property
    def _sets(self) -> tuple[list[Evaluation], dict[str, str]]:
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
        sets, missing = self._sets
        return digest([[[each.name, each.digest] for each in sets], sorted(missing)])

    def check(self) -> None:
        """The questions are here."""
        _ = self._sets

    def learn(self, rows: Iterable[Row], state: Path, seed: int) -> None:
        """Which rows have an item, with the evidence, and the figures of all."""
        sets, missing = self._sets
        index = EvaluationIndex(sets, self.rule, self.settings.sizes)
        scan = Scan(index)
        flagged = {
            found.row.id: _evidence(found, index)
            for found in scan.flagged(training_row(row.record, index.rule.roles) for row in rows)
        }
        (state / FLAGGED).write_text(json.dumps(flagged), encoding="utf-8")
        (state / FIGURES).write_text(json.dumps(_figures(scan) | {"not looked for": missing}), encoding="utf-8")

    def recall(self, state: Path) -> None:
        """What was found."""
        self._flagged = read_json(state / FLAGGED, dict[str, dict[str, Any]], limit=LIMIT)
        self._figures = read_json(state / FIGURES, dict[str, Any])

    def figures(self) -> Mapping[str, JSON]:
        """By evaluation: items, the share that is not testable, items found, C(D), and contaminated sources."""
        return self._figures

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        """Each row, or that it has an item."""
        for row in rows:
            found = self._flagged.get(row.id)
            if found is None:
                yield row
            elif self.settings.found == "drop":
                yield row.drop("evaluation item" if found["how"] == "ngrams" else "whole item", **found)
            else:
                yield row.with_facts({"items": [f"{found['evaluation']}/{found['item']}", *found["also"]]})


def _evidence(flagged: Flagged, index: EvaluationIndex) -> dict[str, JSON]:
    first = flagged.matches[0]
    shared = evidence(flagged.row, first.item, index.rule, index.vocabulary)
    texts = dict(zip(flagged.row.turns, flagged.row.texts, strict=True))
    return {
        "evaluation": first.evaluation,
        "item": first.item.id,
        "share": round(first.share, 6),
        "how": first.how,
        "shared": [texts[span.text][span.start : span.end][:SHOWN] for span in shared.row],
        "asked": "\n\n".join(first.item.texts)[:SHOWN],
        "also": [f"{match.evaluation}/{match.item.id}" for match in flagged.matches[1:]],
    }


def _figures(scan: Scan) -> dict[str, JSON]:
    figures: dict[str, JSON] = {"rule": scan.index.rule.name}
    for finding in findings(scan):
        sources = [source.source for source in finding.sources if source.contaminated]
        figures[finding.name] = {
            "items": finding.items,
            "not testable": round(finding.untestable, 4),
            "found": finding.found,
            "as a whole": finding.whole,
            "C(s), mean, by n": {str(n): _rounded(share) for n, share in finding.samples.items()},
            "C(s)": _rounded(finding.sample),
            "items of n tokens": {str(n): count for n, count in finding.sampled.items()},
            "C(D)": round(finding.contamination, 4),
            "contaminated sources": sources,
        }
    return figures


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
