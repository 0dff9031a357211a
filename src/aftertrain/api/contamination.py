"""Which evaluation items stand in training data: a check of files against evaluation sets (F3, F5, F6)."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import DataError

if TYPE_CHECKING:
    from aftertrain.core.overlap.evidence import Span
    from aftertrain.core.overlap.findings import EvaluationFinding
    from aftertrain.core.overlap.grid import GridPoint
    from aftertrain.core.overlap.index import EvaluationIndex
    from aftertrain.core.overlap.items import Evaluation, TrainingRow
    from aftertrain.core.overlap.planting import Recall
    from aftertrain.core.overlap.rules import Rule
    from aftertrain.core.overlap.scan import Flagged

HITS = 200
"""Flagged rows that the page shows."""
HOSTS = 200
"""Rows that are kept for planting, drawn evenly over all."""
TEXTS, AROUND = 20_000, 1_000
"""Characters of a text that a line of flagged rows holds; of one that it does not hold whole, those before the first
that are shared."""


@dataclass(frozen=True)
class Contamination:
    """What a check found.

    Attributes:
        evaluations: a finding each, in the order in which they were given.
        missing: tasks whose questions are not here, with the reasons: nothing was looked for.
        rows: training rows by source; `letters` are the characters that were compared, `flagged` the rows with an item.
        broken: rows that could not be read, with place and reason.
        recall: of planted copies, by edit; empty where it was not asked for.
        grids: by task of a finished evaluation, what each n and threshold would take from its score (F4).
        certificate: what was checked, by which rule, and what came of it, with digests.
    """

    rule: Rule
    evaluations: tuple[EvaluationFinding, ...]
    missing: Mapping[str, str]
    rows: Mapping[str, int]
    letters: Mapping[str, int]
    flagged: Mapping[str, int]
    broken: tuple[tuple[str, str], ...]
    recall: tuple[Recall, ...]
    grids: Mapping[str, tuple[GridPoint, ...]]
    certificate: Mapping[str, Any]

    @property
    def contaminated(self) -> bool:
        """Whether an evaluation contaminates a source."""
        return any(finding.contaminated for finding in self.evaluations)


def check_contamination(
    train: Sequence[str | os.PathLike[str]],
    against: Sequence[str],
    *,
    rule: str = "tulu3",
    n: int | None = None,
    threshold: float | None = None,
    sizes: Sequence[int] = (),
    data: str | None = None,
    columns: Sequence[str] = (),
    out: str | os.PathLike[str] | None = None,
    html: str | os.PathLike[str] | None = None,
    scores: str | os.PathLike[str] | None = None,
    planted: int = 0,
    seed: int = 0,
) -> Contamination:
    """Look for evaluation items in training files.

    Args:
        train: files of rows in any of the usual columns, or of a text a line; a folder of parquet files.
        against: files of evaluation items, names of tasks or suites.
        rule: `tulu3`, as published, or `robust`, which takes marks of layout away first.
        n: tokens of an n-gram; None takes the rule's.
        threshold: share of an item above which it counts as found; None takes the rule's.
        sizes: further lengths of n-grams for ConTAM's C(s) and C(D).
        data: folder of benchmarks, for tasks that read one.
        columns: of evaluation files, those that make an item.
        out: file for a JSON line per flagged row.
        html: file for a page that shows the first flagged rows beside their items.
        scores: a finished evaluation, RUN or RUN:STAGE: its tasks are looked for too, and what their questions scored
            tells what n and threshold change (F4).
        planted: copies that are planted by each kind of edit, to measure recall.
        seed: of what is planted.

    Raises:
        DataError: a file cannot be read. RecipeError: no such task or suite. UnknownName: no such rule.
    """
    from aftertrain.api.evaluation_items import load_evaluations
    from aftertrain.api.training_rows import TrainingFiles
    from aftertrain.core.overlap.findings import findings
    from aftertrain.core.overlap.grid import SIZES, grid
    from aftertrain.core.overlap.index import EvaluationIndex
    from aftertrain.core.overlap.planting import recall
    from aftertrain.core.overlap.rules import rule_named
    from aftertrain.core.overlap.scan import Scan

    chosen = rule_named(rule, n=n, threshold=threshold)
    if not against and scores is None:
        raise DataError("nothing to look for: name evaluation sets, or a finished evaluation")
    evaluations, missing = load_evaluations(against, data=data, columns=columns)
    saved: dict[str, dict[str, float]] = {}
    if scores is not None:
        from aftertrain.api.saved_scores import saved_scores

        tasks, saved = saved_scores(scores)
        evaluations += tasks
    index = EvaluationIndex(evaluations, chosen, sizes or (SIZES if saved else ()))
    files = TrainingFiles([Path(path) for path in train], chosen.roles)
    digests = files.digests()
    scan, hosts = Scan(index), _Hosts(HOSTS, seed)
    facts = (flagged_facts(flagged, index) for flagged in scan.flagged(hosts.drawn(files)))
    shown, total = _write(None if out is None else Path(out), facts, 0 if html is None else HITS)
    if not scan.tally.rows:
        raise DataError(f"{', '.join(map(str, train))}: no row could be read; the first: {files.broken[0][1]}")
    found = findings(scan)
    if html is not None:
        from aftertrain.plugins.report.contamination import write

        write(Path(html), chosen, found, shown, total)
    recalled = tuple(recall(index, hosts.rows, each=planted, seed=seed)) if planted else ()
    tally, grids = scan.tally, {name: tuple(grid(scan, name, values)) for name, values in saved.items()}
    result = {
        "evaluations": [{**asdict(finding), "contaminated": finding.contaminated} for finding in found],
        "missing": missing,
        "rows": dict(tally.rows),
        "flagged": dict(tally.flagged),
        "unreadable rows": len(files.broken),
        "recall": [asdict(edit) for edit in recalled],
        "grid": {name: [asdict(point) for point in points] for name, points in grids.items()},
    }
    return Contamination(
        chosen,
        found,
        missing,
        tally.rows,
        tally.letters,
        tally.flagged,
        tuple(files.broken),
        recalled,
        grids,
        _certificate(chosen, evaluations, digests, result),
    )


class _Hosts:
    """Rows drawn evenly over a stream (Vitter 1985, algorithm R)."""

    def __init__(self, count: int, seed: int) -> None:
        self.rows: list[TrainingRow] = []
        self._count, self._random = count, random.Random(seed)

    def drawn(self, rows: Iterator[TrainingRow] | Any) -> Iterator[TrainingRow]:
        """The rows themselves, some of which are kept."""
        for number, row in enumerate(rows):
            if number < self._count:
                self.rows.append(row)
            elif (place := int(self._random.random() * (number + 1))) < self._count:
                self.rows[place] = row
            yield row


def _certificate(
    rule: Rule, evaluations: Sequence[Evaluation], digests: Mapping[str, str], result: Mapping[str, Any]
) -> dict[str, Any]:
    """Equal hashes mean the same question, and equal results are its answer."""
    sets = {
        evaluation.name: {"items": len(evaluation.items), "sha256": evaluation.digest} for evaluation in evaluations
    }
    corpus = [{"name": Path(path).name, "sha256": digest} for path, digest in digests.items()]
    return {
        "aftertrain": version("aftertrain"),
        "rule": {**rule.facts(), "sha256": _digest(rule.facts())},
        "evaluation sets": {**sets, "sha256": _digest(sorted(evaluation.digest for evaluation in evaluations))},
        "corpus": {"files": corpus, "sha256": _digest(sorted(digests.values()))},
        "result": result,
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _write(path: Path | None, facts: Iterator[dict[str, Any]], kept: int) -> tuple[list[dict[str, Any]], int]:
    """A JSON line per row into a file that appears when it is whole; the first of them, and how many there are."""
    from aftertrain.core.rows.files import write_lines

    first, total = list[dict[str, Any]](), 0

    def told() -> Iterator[dict[str, Any]]:
        nonlocal total
        for total, row in enumerate(facts, 1):  # noqa: B007
            if len(first) < kept:
                first.append(row)
            yield row

    if path is None:
        deque(told(), maxlen=0)
    else:
        write_lines(path, told())
    return first, total


def _by_text(spans: Sequence[Span]) -> dict[int, list[Span]]:
    found: dict[int, list[Span]] = {}
    for span in spans:
        found.setdefault(span.text, []).append(span)
    return found


def cut(text: str, spans: Sequence[Span]) -> tuple[int, str]:
    """So much of a text as a line holds, with the character at which it begins: the first spans are in it."""
    start = max(0, spans[0].start - AROUND) if spans and spans[-1].end > TEXTS else 0
    return start, text[start : start + TEXTS]


def flagged_facts(flagged: Flagged, index: EvaluationIndex) -> dict[str, Any]:
    """A flagged row as plain data, with its first match's texts and the characters that both share.

    Spans count in the whole texts; `cut` says where a text begins of which only a part is held.
    """
    from aftertrain.core.overlap.evidence import evidence

    row, first = flagged.row, flagged.matches[0]
    shown = evidence(row, first.item, index.rule, index.vocabulary)
    in_row, in_item = _by_text(shown.row), _by_text(shown.item)
    given = {turn: cut(text, in_row[turn]) for turn, text in zip(row.turns, row.texts, strict=True) if turn in in_row}
    asked = [cut(text, in_item.get(place, [])) for place, text in enumerate(first.item.texts)]
    return {
        "id": row.id,
        "source": row.source,
        "where": row.where,
        "evaluation": first.evaluation,
        "item": first.item.id,
        "share": round(first.share, 6),
        "how": first.how,
        "rule": index.rule.name,
        "n": index.rule.n,
        "spans": [{"turn": span.text, "start": span.start, "end": span.end} for span in shown.row],
        "item_spans": [{"text": span.text, "start": span.start, "end": span.end} for span in shown.item],
        "texts": {str(turn): text for turn, (_, text) in given.items()},
        "item_texts": [text for _, text in asked],
        "cut": {str(turn): start for turn, (start, _) in given.items() if start},
        "item_cut": {str(place): start for place, (start, _) in enumerate(asked) if start},
        "also": [
            {"evaluation": match.evaluation, "item": match.item.id, "share": round(match.share, 6), "how": match.how}
            for match in flagged.matches[1:]
        ],
    }
