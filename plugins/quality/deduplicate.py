"""Rows that say again what another row says: exact duplicates, and near ones by MinHash."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aftertrain.core.ground.unicode import nfkc
from aftertrain.core.operator import Dropped, Operator, Row
from aftertrain.core.overlap.tokens import tokens
from aftertrain.core.records import JSON
from aftertrain.plugins.quality.deduplicate_settings import DeduplicateSettings, Highest, Lowest
from aftertrain.plugins.quality.facts import number
from aftertrain.plugins.quality.fates import Fate, Fates, write_fates
from aftertrain.plugins.quality.likes import NOBODY, Decision, buckets, decide, leaders
from aftertrain.plugins.quality.minhash import MinHash, band_width
from aftertrain.plugins.quality.parts import text_of
from aftertrain.plugins.quality.seen import Seen
from aftertrain.plugins.quality.shingles import Shingles, jaccard

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHOWN = 5
"""Clusters that the figures name, the largest first."""
_SPACES = re.compile(r"\s+")


class Deduplicate(Operator[DeduplicateSettings]):
    """Keeps of rows that are alike the first, or the best by a fact.

    Rows are gone through in the order of preference; one is left out where a row that is kept before it is like it, and
    names the one that it is most like with the similarity. So no row is left out for one that it is unlike, and of two
    that are kept none was found to be like the other. A row that is kept has the fact `duplicates`: those left out for
    it.
    """

    Config = DeduplicateSettings
    finds = ("duplicates",)
    learns = True

    def learn(self, rows: Iterable[Row], state: Path, seed: int) -> None:
        """Decide for each row. Ids, n-grams and signatures wait on disk; in memory are some 60 bytes a row, and 16 for
        each bucket that it shares with another.

        Raises:
            DataError: a row lacks the fact by which the best is chosen.
        """
        settings, scratch = self.settings, state / "seen"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        near = settings.method == "minhash"
        k = settings.hashes if near else 0
        r = band_width(settings.threshold, k, settings.recall) if near else 1
        with Seen(scratch, k, r) as seen:
            (self._learn_near if near else self._learn_exact)(rows, seen, seed)
            seen.close()
            rank = self._rank(seen)
            leader = leaders(seen.digests, rank)
            decision = self._near(seen, rank, leader) if near else none_near(len(seen))
            follow(decision, leader)
            write_fates(state, told(seen, decision), figures(seen, decision))
        shutil.rmtree(scratch)

    def reads(self) -> Sequence[str]:
        """That by which one of several is kept."""
        match self.settings.keep:
            case Highest(highest=name) | Lowest(lowest=name):
                return (name,)
        return ()

    def recall(self, state: Path) -> None:
        """What was decided."""
        self._fates = Fates(state)

    def figures(self) -> Mapping[str, JSON]:
        """`rows`, `duplicates` and of these the near ones, `clusters` and the largest of them, pairs compared."""
        return self._fates.figures

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        """Each row, or for which one it is left out."""
        for row in rows:
            fate = self._fates.of(row.id)
            if fate.kept is None:
                yield row.with_facts({"duplicates": fate.duplicates})
            else:
                reason = "duplicate" if fate.similarity == 1 else "near duplicate"
                yield row.drop(reason, kept=fate.kept, similarity=fate.similarity)

    def _learn_exact(self, rows: Iterable[Row], seen: Seen, seed: int) -> None:
        for row in rows:
            seen.add(row.id, digest(plain(text_of(row, self.settings.of))), self._worth(row))

    def _learn_near(self, rows: Iterable[Row], seen: Seen, seed: int) -> None:
        """What has the same words has the same n-grams; of texts without words the same ones are alike."""
        shingles, signature = Shingles(self.settings.n), MinHash(self.settings.hashes, seed)
        for row in rows:
            text = text_of(row, self.settings.of)
            found = tokens(text)
            hashes = shingles(found)
            seen.add(row.id, digest("\0".join(found) or f"\0{plain(text)}"), self._worth(row))
            seen.add_set(hashes, signature(hashes))

    def _worth(self, row: Row) -> float:
        """What decides which of several is kept: the more, the better; NaN for none."""
        match self.settings.keep:
            case Highest(highest=name):
                value = number(row, name)
                return math.nan if value is None else value
            case Lowest(lowest=name):
                value = number(row, name)
                return math.nan if value is None else -value
        return 0.0

    def _rank(self, seen: Seen) -> NDArray[np.int64]:
        """Place of each row in the order of preference."""
        order = np.argsort(-np.frombuffer(seen.worth, np.float64), kind="stable")  # NaN comes last
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return rank

    def _near(self, seen: Seen, rank: NDArray[np.int64], leader: NDArray[np.int64]) -> Decision:
        """Of the rows that lead their exact duplicates, and have words."""
        threshold = self.settings.threshold
        rows = np.flatnonzero((leader == np.arange(len(leader))) & (seen.sizes > 0))
        if not len(rows):
            return none_near(len(leader))
        sets, ends, signatures = seen.sets(), seen.set_ends, seen.signatures()
        # The share of places that agree is a Jaccard index with this standard error: four of them miss one in 30,000.
        likely = threshold - 4 * math.sqrt(threshold * (1 - threshold) / self.settings.hashes)

        def likeness(row: int, others: NDArray[np.int64]) -> tuple[int, float, int]:
            own = sets[ends[row] : ends[row + 1]]
            agreeing = others[(signatures[others] == signatures[row]).mean(axis=1) >= likely]
            best, most = NOBODY, 0.0
            for other in agreeing.tolist():
                index = jaccard(own, sets[ends[other] : ends[other + 1]])
                if index >= threshold and index > most:
                    best, most = other, index
            return best, most, len(agreeing)

        return decide(*buckets(seen.bands(), rows), rank, likeness)


def plain(text: str) -> str:
    """A text in the form in which exact duplicates are compared: NFKC, case folded, any white space one space.

    >>> plain(" Straße\\n\\tNo. ５ ")
    'strasse no. 5'
    """
    return _SPACES.sub(" ", nfkc(text).casefold()).strip()


def digest(text: str) -> bytes:
    """16 bytes that no other text has."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def none_near(rows: int) -> Decision:
    """No row is left out for a near one."""
    return Decision(np.full(rows, NOBODY, np.int64), np.ones(rows, np.float32))


def follow(decision: Decision, leader: NDArray[np.int64]) -> None:
    """An exact duplicate is left out for the leader, or for whom the leader is left out for."""
    behind = np.flatnonzero(leader != np.arange(len(leader)))
    lead = leader[behind]
    lost = decision.kept[lead] != NOBODY
    decision.kept[behind] = np.where(lost, decision.kept[lead], lead)
    decision.similarity[behind] = decision.similarity[lead]


def told(seen: Seen, decision: Decision) -> Iterator[tuple[str, Fate]]:
    """By id, what becomes of rows that have duplicates or are some."""
    counts = np.bincount(decision.kept[decision.kept != NOBODY], minlength=len(seen))
    for row in np.flatnonzero((decision.kept != NOBODY) | (counts > 0)).tolist():
        kept = int(decision.kept[row])
        if kept == NOBODY:
            yield seen.id(row), Fate(duplicates=int(counts[row]))
        else:
            yield seen.id(row), Fate(seen.id(kept), round(float(decision.similarity[row]), 6))


def figures(seen: Seen, decision: Decision) -> dict[str, Any]:
    """Of all rows; a cluster is a row that is kept with those left out for it."""
    left_out = decision.kept != NOBODY
    counts = np.bincount(decision.kept[left_out], minlength=len(seen))
    clusters = np.flatnonzero(counts)
    largest = clusters[np.argsort(-counts[clusters], kind="stable")][:_SHOWN].tolist()
    return {
        "rows": len(seen),
        "duplicates": int(left_out.sum()),
        "near_duplicates": int((left_out & (decision.similarity < 1)).sum()),
        "clusters": len(clusters),
        "largest": {seen.id(row): int(counts[row]) + 1 for row in largest},
        "compared": decision.compared,
    }
