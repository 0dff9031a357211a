"""One supervised step on the quickstart's model: our packed engine beside transformers on a padded batch.

    python benchmarks/packed_step.py --rows 128 --threads 2

Prints seconds a step (the best of some), ours, the peer's, and the ratio. Both do forward, backward and AdamW on the
same random rows of 30 to 60 tokens, half of them targets. Long, few rows: `--rows 8 --shortest 200 --longest 800`.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

import torch
from table import Row, add_options, show

from aftertrain.core.engine import AdamW
from aftertrain.core.learning.seeding import use_determinism
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.plugins.torch_engine.engine import TorchEngine
from aftertrain.plugins.torch_engine.settings import TorchSettings

MODEL = Path(__file__).parents[1] / "plugins" / "quickstart" / "model"


def ours(rows: list[list[int]], model: str) -> Callable[[], float]:
    """A packed step of the torch engine; returns its loss."""
    engine = TorchEngine(TorchSettings(device="cpu"), None)  # type: ignore[arg-type]
    engine.load(model, optimizer=AdamW())
    batch = collate(
        [Segment(str(i), row, [at >= len(row) // 2 for at in range(len(row))]) for i, row in enumerate(rows)]
    )

    def step() -> float:
        logprobs = engine.score(batch).logprobs
        assert logprobs is not None
        n = batch.count("token")
        loss = -logprobs[batch.targets].sum()
        engine.backward(loss, n)
        engine.step(1e-4)
        return float(loss.detach()) / n

    return step


def theirs(rows: list[list[int]], folder: str) -> Callable[[], float]:
    """A padded step of transformers with SDPA; returns its loss."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    targets = torch.tensor([[len(row) // 2 <= at < len(row) for at in range(longest)] for row in rows])
    labels = ids.masked_fill(~targets, -100)

    def step() -> float:
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def best(step: Callable[[], float], times: int) -> tuple[float, float]:
    """Loss of the first step, and seconds of the quickest."""
    seconds, losses = [], []
    for _ in range(times):
        started = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - started)
    return losses[0], min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--shortest", type=int, default=30)
    parser.add_argument("--longest", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--model", default=str(MODEL))
    add_options(parser, "5 steps of each instead of --times")
    arguments = parser.parse_args()
    times = 5 if arguments.quick else arguments.times
    use_determinism(arguments.threads)
    rng = random.Random(0)
    lengths = [rng.randint(arguments.shortest, arguments.longest) for _ in range(arguments.rows)]
    rows = [[rng.randrange(3, 600) for _ in range(length)] for length in lengths]
    (loss, mine), (other_loss, other) = (best(make(rows, arguments.model), times) for make in (ours, theirs))
    print(
        f"{arguments.rows} rows, {sum(lengths)} tokens, {arguments.threads} threads: loss {loss:.5f}, {other_loss:.5f}"
    )
    name = f"step of {sum(lengths)} tokens, packed vs transformers padded"
    show([Row.less_is_better(name, "s", mine, other)], arguments.json)


if __name__ == "__main__":
    main()
