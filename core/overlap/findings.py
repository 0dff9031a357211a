"""What a scan found, per evaluation and source (F3, F5, F6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aftertrain.core.overlap.index import EvaluationIndex
from aftertrain.core.overlap.scan import Scan


@dataclass(frozen=True, slots=True)
class SourceFinding:
    """One evaluation in one source of training rows.

    Attributes:
        rows: rows of the source.
        found: items that one of its rows covers above the threshold.
        whole: of the items that are not testable, those that stand in one of its rows as a whole.
        share: `found` over the testable items; None where there are none.
        whole_share: `whole` over the items that are not testable; None where there are none.
        contaminated: whether one of both shares is above the rule's (F6: 2 %).
    """

    source: str
    rows: int
    found: int
    whole: int
    share: float | None
    whole_share: float | None
    contaminated: bool


@dataclass(frozen=True, slots=True)
class EvaluationFinding:
    """One evaluation in all training rows.

    Attributes:
        items: of the evaluation.
        testable: those that can be found by n-grams: of the rest nothing is said, unless one was found as a whole.
        found: testable items that one row covers above the threshold.
        whole: items of the rest that stand in a row as a whole.
        covered: C(D) by n: the share of the evaluation's tokens that n-grams of the corpus cover (F5 before the
            maximum).
        samples: by n, the mean over its items of the share that the corpus covers (F3 before the maximum). Items
            without a text of n tokens are in no mean; None where there are only such.
        sample: C(s), the largest over n of each item, as a mean over its items with a text of the smallest n (F3).
        sampled: by n, the items that the mean is made of; `sample` is made of those of the smallest n.
        sources: only those that have an item of it.
    """

    name: str
    items: int
    testable: int
    found: int
    whole: int
    covered: Mapping[int, float]
    samples: Mapping[int, float | None]
    sample: float | None
    sampled: Mapping[int, int]
    sources: tuple[SourceFinding, ...]

    @property
    def contamination(self) -> float:
        """C(D), the largest over n (F5)."""
        return max(self.covered.values())

    @property
    def contaminated(self) -> bool:
        """Whether a source is contaminated by it."""
        return any(source.contaminated for source in self.sources)

    @property
    def untestable(self) -> float:
        """The share of its items of which n-grams say nothing."""
        return 1 - self.testable / self.items if self.items else 0.0


def findings(scan: Scan) -> tuple[EvaluationFinding, ...]:
    """What was found, in the order of the evaluations."""
    index, tally = scan.index, scan.tally
    covered = {n: covered_tokens(scan, n) for n in index.sizes}
    samples = {n: _samples(index, tokens) for n, tokens in covered.items()}
    return tuple(_finding(scan, number, covered, samples, tally.rows) for number in range(len(index.evaluations)))


def _finding(
    scan: Scan,
    number: int,
    covered: Mapping[int, NDArray[np.bool_]],
    samples: Mapping[int, NDArray[np.float64]],
    rows: Mapping[str, int],
) -> EvaluationFinding:
    index, tally = scan.index, scan.tally
    mine = index.numbers == number
    testable = int(index.testable[mine].sum())
    short = int(mine.sum()) - testable
    long = {n: mine & of_tokens_at_least(index, n) for n in index.sizes}
    any_long = long[min(index.sizes)]
    of_tokens = mine[index.owner_of_tokens()]
    sources = []
    for source in sorted(tally.found.keys() | tally.whole.keys()):
        found = sum(1 for item in tally.found.get(source, ()) if mine[item])
        whole = sum(1 for item in tally.whole.get(source, ()) if mine[item])
        if found or whole:
            share = found / testable if testable else None
            whole_share = whole / short if short else None
            above = any((part or 0.0) > index.rule.source_threshold for part in (share, whole_share))
            sources.append(SourceFinding(source, rows[source], found, whole, share, whole_share, above))
    return EvaluationFinding(
        index.evaluations[number].name,
        int(mine.sum()),
        testable,
        len({item for items in tally.found.values() for item in items if mine[item]}),
        len({item for items in tally.whole.values() for item in items if mine[item]}),
        {n: _mean(tokens[of_tokens]) for n, tokens in covered.items()},
        {n: _mean(shares[long[n]]) if long[n].any() else None for n, shares in samples.items()},
        _mean(np.max([*samples.values()], axis=0)[any_long]) if any_long.any() else None,
        {n: int(items.sum()) for n, items in long.items()},
        tuple(sources),
    )


def covered_tokens(scan: Scan, n: int) -> NDArray[np.bool_]:
    """Which tokens of the evaluation side stand in an n-gram that the corpus has."""
    index = scan.index
    places, _ = index.tables[n].places(np.flatnonzero(scan.tally.seen[n]))
    edges = np.zeros(index.n_tokens + 1, dtype=np.int64)
    edges[places] += 1
    edges[places + n] -= 1
    result: NDArray[np.bool_] = np.cumsum(edges[:-1]) > 0
    return result


def of_tokens_at_least(index: EvaluationIndex, n: int) -> NDArray[np.bool_]:
    """Which items have a text of n tokens: of the others n-grams say nothing."""
    long: NDArray[np.bool_] = np.bincount(index.text_owner, index.text_length >= n, len(index.items)) > 0
    return long


def shares_of_items(scan: Scan, n: int) -> NDArray[np.float64]:
    """The share of each item's tokens that n-grams of the corpus cover: C(s) before the maximum over n."""
    return _samples(scan.index, covered_tokens(scan, n))


def _samples(index: EvaluationIndex, covered: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of each item's tokens; an item of no tokens has 0."""
    owners = index.owner_of_tokens()
    result: NDArray[np.float64] = np.bincount(owners, covered, len(index.items)) / np.maximum(
        index.lengths_of_items(), 1
    )
    return result


def _mean(values: NDArray[np.generic]) -> float:
    return float(values.mean()) if len(values) else 0.0
