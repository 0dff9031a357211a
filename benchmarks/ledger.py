"""What the ledger costs: a supervised step on the quickstart's model with its book, and the same step without.

    python benchmarks/ledger.py --rows 128 --threads 2

The step is the best of some; what the book adds is the median of many entries of that step, timed by themselves,
because it is far below what one step differs from the next. The peer is the step without.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

from packed_step import MODEL, best
from table import Row, add_options, show

from aftertrain.core.book import Book
from aftertrain.core.engine import AdamW
from aftertrain.core.learning.seeding import use_determinism
from aftertrain.core.packed.packing import Segment, pack
from aftertrain.plugins.torch_engine.engine import TorchEngine
from aftertrain.plugins.torch_engine.settings import TorchSettings
from aftertrain.plugins.training.accounts import Accounts

BUDGET = 8192
"""Tokens of a micro-batch, the default of a train stage."""


def seconds_of(call: Callable[[], None], times: int) -> float:
    """The median of some calls."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--times", type=int, default=10)
    add_options(parser, "5 steps instead of --times")
    arguments = parser.parse_args()
    use_determinism(arguments.threads)
    rng = random.Random(0)
    rows = [[rng.randrange(3, 600) for _ in range(rng.randint(30, 60))] for _ in range(arguments.rows)]
    atoms = [
        [Segment(str(n), row, [at >= len(row) // 2 for at in range(len(row))], group=n)] for n, row in enumerate(rows)
    ]
    batches = pack(atoms, BUDGET)
    engine = TorchEngine(TorchSettings(device="cpu"), None)  # type: ignore[arg-type]
    engine.load(str(MODEL), optimizer=AdamW())

    def step() -> float:
        loss = 0.0
        for batch in batches:
            logprobs = engine.score(batch).logprobs
            assert logprobs is not None
            numerator = -logprobs[batch.targets].sum()
            engine.backward(numerator, batch.count("token"))
            loss += float(numerator.detach())
        engine.step(1e-4)
        return loss

    accounts, numbers = Accounts(Book(), first=True), range(len(atoms))
    _, without = best(step, 5 if arguments.quick else arguments.times)
    book = seconds_of(lambda: accounts.step(numbers, atoms, batches, learnt=True), 200)
    tokens = sum(map(len, rows))
    name = f"step of {len(rows)} rows, {tokens} tokens, with its book vs without"
    show([Row.less_is_better(name, "s", without + book, without), Row("the book alone", "s", book)], arguments.json)


if __name__ == "__main__":
    main()
