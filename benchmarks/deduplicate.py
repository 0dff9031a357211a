"""Near duplicates: text a core goes through in a second, and what is found of planted copies, beside datasketch.

    python benchmarks/deduplicate.py --documents 20000

Documents of 40 to 300 words are drawn by a fixed seed from a vocabulary of 20,000 (Zipf); for some a copy follows in
which one word in a hundred to one in twelve is another. Which pairs are duplicates is decided by the definition, for
pairs of an original and its copy and for those that a side names: the Jaccard index of their sets of 5-grams is 0.7 or
more. Ours is the operator `deduplicate` as a recipe runs it (words, n-grams, signatures, bands, every pair measured,
decisions written). The peer has its own words by `str.split`, the same 5-grams, MinHash of 128 places and its LSH, and
each pair that it finds is measured by its signatures. One process, one thread, processor seconds.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from table import Row, add_options, show

from aftertrain.core.operator import Dropped
from aftertrain.core.operator import Row as Held
from aftertrain.core.records import Document
from aftertrain.plugins.quality.deduplicate import Deduplicate
from aftertrain.plugins.quality.deduplicate_settings import DeduplicateSettings

THRESHOLD, N, PLACES = 0.7, 5, 128
WORDS = 20_000
COPIES = 0.2
"""Share of documents that are copies of an earlier one."""

Pairs = set[tuple[int, int]]


def made(count: int, seed: int) -> tuple[list[str], Pairs]:
    """Documents, and the pairs of original and copy."""
    rng = random.Random(seed)
    words = [f"{''.join(rng.choices('etaoinshrdlu', k=rng.randint(2, 8)))}{place}" for place in range(WORDS)]
    weights = [1 / (place + 10) for place in range(WORDS)]
    texts: list[str] = []
    pairs: Pairs = set()
    while len(texts) < count:
        if texts and rng.random() < COPIES:
            origin = rng.randrange(len(texts))
            every = rng.randint(12, 100)
            copy = [rng.choice(words) if rng.random() < 1 / every else word for word in texts[origin].split()]
            pairs.add((origin, len(texts)))
            texts.append(" ".join(copy))
        else:
            texts.append(" ".join(rng.choices(words, weights, k=rng.randint(40, 300))))
    return texts, pairs


def grams(text: str) -> set[str]:
    """The 5-grams of a text."""
    found = text.split()
    return {" ".join(found[place : place + N]) for place in range(max(1, len(found) - N + 1))}


def ours(texts: Sequence[str]) -> tuple[float, Pairs]:
    """Processor seconds, and for each row that is left out the pair with the row that is kept for it."""
    rows = [Held(Document(str(place), text, "made")) for place, text in enumerate(texts)]
    settings = DeduplicateSettings(threshold=THRESHOLD, n=N, hashes=PLACES)
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        operator = Deduplicate(settings, None)  # type: ignore[arg-type]  # it builds nothing
        operator.learn(iter(rows), Path(folder), seed=0)
        operator.recall(Path(folder))
        results = list(operator.apply(rows, 0))
        seconds = time.process_time() - started
    return seconds, {
        (int(str(result.evidence["kept"])), int(result.row.id)) for result in results if isinstance(result, Dropped)
    }


def theirs(texts: Sequence[str]) -> tuple[float, Pairs]:
    """The same of datasketch: for each document the first one before it that is like it."""
    from datasketch import MinHash, MinHashLSH

    started = time.process_time()
    lsh, signed, pairs = MinHashLSH(threshold=THRESHOLD, num_perm=PLACES), {}, set[tuple[int, int]]()
    for place, text in enumerate(texts):
        signature = MinHash(num_perm=PLACES, seed=1)
        signature.update_batch([gram.encode() for gram in grams(text)])
        like = [int(key) for key in lsh.query(signature) if signed[int(key)].jaccard(signature) >= THRESHOLD]
        if like:
            pairs.add((min(like), place))
            continue
        signed[place] = signature
        lsh.insert(str(place), signature)
    return time.process_time() - started, pairs


def index(texts: Sequence[str], pair: tuple[int, int]) -> float:
    """The Jaccard index, by definition."""
    one, other = grams(texts[pair[0]]), grams(texts[pair[1]])
    return len(one & other) / len(one | other)


def quality(texts: Sequence[str], found: Pairs, alike: Pairs) -> tuple[float, float]:
    """Recall: of planted pairs that are alike, those of which one at most is kept; precision: of pairs, the alike."""
    left = {pair[1] for pair in found}
    met = sum(not left.isdisjoint(pair) for pair in alike)
    right = sum(index(texts, pair) >= THRESHOLD for pair in found)
    return met / max(1, len(alike)), right / max(1, len(found))


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    add_options(parser, "3,000 documents")
    options = parser.parse_args()
    texts, planted = made(3_000 if options.quick else options.documents, options.seed)
    size = sum(map(len, texts)) / 1e6
    seconds, found = ours(texts)
    alike = {pair for pair in planted if index(texts, pair) >= THRESHOLD}
    recall, precision = quality(texts, found, alike)
    speed: tuple[float | None, float | None, float | None] = None, None, None
    try:
        took, by_peer = theirs(texts)
    except ModuleNotFoundError:
        sys.stdout.write("datasketch is not installed: pip install datasketch\n")
    else:
        speed = size / took, *quality(texts, by_peer, alike)

    def row(name: str, unit: str, value: float, peer: float | None) -> Row:
        return Row(name, unit, value, peer, None if not peer else value / peer)

    show(
        [
            row(f"deduplicate: {len(texts):,} documents, {size:.1f} MB", "MB/s", size / seconds, speed[0]),
            row(f"recall of {len(alike):,} planted pairs that are alike by definition", "", recall, speed[1]),
            row(f"precision of {len(found):,} pairs", "", precision, speed[2]),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
