"""Rows that hold evaluation items (F6), found in one pass over all rows and left out with the evidence."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from aftertrain.core.operator import Row
from aftertrain.core.overlap.evidence import evidence
from aftertrain.core.overlap.findings import findings
from aftertrain.core.overlap.index import EvaluationIndex
from aftertrain.core.overlap.items import training_row
from aftertrain.core.overlap.rules import Rule, rule_named
from aftertrain.core.overlap.scan import Flagged, Scan
from aftertrain.core.records import JSON
from aftertrain.plugins.contamination.looking import FIGURES, FLAGGED, SHOWN, Looking
from aftertrain.plugins.contamination.settings import DecontaminateSettings


class Decontaminate(Looking[DecontaminateSettings]):
    """Leaves out rows of which one covers more than the threshold of an evaluation item.

    The first pass finds them, and what all rows together come to: items, the share that is not testable, items found,
    C(s), C(D), and contaminated sources by evaluation.
    """

    Config = DecontaminateSettings

    @property
    def rule(self) -> Rule:
        """With the settings' own n and threshold."""
        return rule_named(self.settings.rule, n=self.settings.n, threshold=self.settings.threshold)

    def learn(self, rows: Iterable[Row], state: Path, seed: int) -> None:
        """Which rows have an item, with the evidence, and the figures of all."""
        sets, missing = self.sets
        index = EvaluationIndex(sets, self.rule, self.settings.sizes)
        scan = Scan(index)
        flagged = {
            found.row.id: _evidence(found, index)
            for found in scan.flagged(training_row(row.record, index.rule.roles) for row in rows)
        }
        (state / FLAGGED).write_text(json.dumps(flagged), encoding="utf-8")
        (state / FIGURES).write_text(json.dumps(_figures(scan) | {"not looked for": missing}), encoding="utf-8")


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
