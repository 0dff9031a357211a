"""Contamination: training text a core checks in a second, beside plain Python n-grams, and how time and memory grow.

    python benchmarks/contamination.py --megabytes 64 --growth 64,256,1024

Text is made of the words of GSM8K-like questions by a fixed seed, with a share of rows that hold an evaluation item and
a share with characters beyond ASCII, as chat data have them. The peer is the same rule with `re`, tuples and a set. One
process, one thread.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import time
import unicodedata
from collections.abc import Iterator, Sequence

from table import Row, add_options, show

from aftertrain.core.overlap.index import EvaluationIndex
from aftertrain.core.overlap.items import Evaluation, Item, TrainingRow
from aftertrain.core.overlap.rules import RULES
from aftertrain.core.overlap.scan import Scan

WORD = re.compile(r"[^\W_]+")
WORDS = 20_000
ITEMS = 5_000
BEYOND, HELD = 0.15, 0.01
"""Shares of rows with a letter that is not ASCII, and with an evaluation item."""


def made(count: int, rng: random.Random) -> list[str]:
    """Texts of about 600 characters, words drawn as often as in speech (Zipf)."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(rng.choices(letters[: 4 + place % 22], k=rng.randint(1, 9))) for place in range(WORDS)]
    weights = [1 / (place + 10) for place in range(WORDS)]
    texts = []
    for _ in range(count):
        drawn = rng.choices(words, weights, k=rng.randint(40, 180))
        texts.append(" ".join(drawn).capitalize().replace(" ea ", ", ") + ("? é" if rng.random() < BEYOND else "."))
    return texts


def rows_of(texts: Sequence[str], items: Sequence[str], letters: int) -> Iterator[TrainingRow]:
    """Rows up to so many characters, without ever holding them all: the same texts again in another order."""
    rng, done, number = random.Random(1), 0, 0
    while done < letters:
        text = rng.choice(items) if rng.random() < HELD else rng.choice(texts)
        done, number = done + len(text), number + 1
        yield TrainingRow(str(number), "made", (text,), (0,))


def plain(rows: Sequence[TrainingRow], items: Sequence[str], n: int) -> tuple[float, int]:
    """The rule in plain Python: CPU seconds without those of its index, and how many rows hold an item."""
    postings: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    lengths = []
    for item, text in enumerate(items):
        words = WORD.findall(unicodedata.normalize("NFKC", text).casefold())
        lengths.append(len(words))
        for start in range(len(words) - n + 1):
            postings.setdefault(tuple(words[start : start + n]), []).append((item, start))
    flagged, started = 0, time.process_time()
    for row in rows:
        covered: dict[int, set[int]] = {}
        for text in row.texts:
            words = WORD.findall(unicodedata.normalize("NFKC", text).casefold())
            for gram in zip(*(words[offset:] for offset in range(n)), strict=False):
                for item, start in postings.get(gram, ()):
                    covered.setdefault(item, set()).update(range(start, start + n))
        flagged += any(len(places) > lengths[item] / 2 for item, places in covered.items())
    return time.process_time() - started, flagged


def rate(index: EvaluationIndex, rows: Sequence[TrainingRow], times: int) -> tuple[float, int]:
    """Million characters a CPU second, the best of some passes, and how many rows were flagged."""
    size, best, flagged = sum(len(text) for row in rows for text in row.texts) / 1e6, float("inf"), 0
    for _ in range(times):
        started = time.process_time()
        flagged = sum(1 for _ in Scan(index).flagged(rows))
        best = min(best, time.process_time() - started)
    return size / best, flagged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--growth", default="64,256,1024", help="megabytes, with commas between them")
    parser.add_argument("--times", type=int, default=3)
    add_options(parser, "8 MB, and growth to 64 MB")
    arguments = parser.parse_args()
    sizes = [16, 64] if arguments.quick else [int(size) for size in arguments.growth.split(",")]
    rng = random.Random(0)
    items, texts = made(ITEMS, rng), made(20_000, rng)
    evaluation = Evaluation("made", [Item(str(place), (text,)) for place, text in enumerate(items)], "")
    table = []
    # First, while nothing else has taken memory.
    index = EvaluationIndex([evaluation], RULES["tulu3"])
    for size in sizes:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.process_time()
        for _ in Scan(index).flagged(rows_of(texts, items, size * 1_000_000)):
            pass
        spent = time.process_time() - started
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        table += [
            Row(f"tulu3: {size} MB, made and checked", "s", spent),
            Row(f"tulu3: {size} MB, memory", "MiB", grown),
        ]
    rows = list(rows_of(texts, items, (8 if arguments.quick else arguments.megabytes) * 1_000_000))
    few = rows[: max(1, len(rows) // 8)]
    seconds, by_peer = plain(few, items, 8)
    peer = sum(len(text) for row in few for text in row.texts) / 1e6 / seconds
    for name, rule in RULES.items():
        index = EvaluationIndex([evaluation], rule)
        ours, _ = rate(index, rows, arguments.times)
        assert rate(index, few, 1)[1] == by_peer
        table.append(Row(f"{name}: training text a core", "MB/s", ours, peer, ours / peer))
    show(table, arguments.json)


if __name__ == "__main__":
    main()
