"""Generation alone: our in-process generator beside transformers' `generate` and its continuous batching.

    AFTERTRAIN_DATA=… AFTERTRAIN_SMOLLM2=… python benchmarks/generation.py [--quick]

GSM8K questions of unlike lengths, one reply each, drawn at temperature 1 in float32; every reply has the same number of
tokens, as the model's end of sequence is replaced by a token that it does not draw. The peer of `generation N` is
`generate` with the quickest of its batch sizes, left-padded as it wants it; that of `generation N: continuous batching`
is `generate_batch`. In `generation 64: to the end` replies end where the model ends them, and only tokens up to there
count. Rates are of CPU seconds at one thread, as other programs do not change those, else of wall seconds; sides are
warmed up and take turns, and rows hold medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evaluate import lines
from online import endless
from table import Row, add_options, show

COUNTS = (1, 16, 64)
BATCHES = (16, 64)
"""Batch sizes among which `generate` has its best."""
Side = Callable[[Sequence[tuple[int, ...]], int], int]
"""Replies to prompts of at most so many tokens; gives the tokens of all replies."""


def ours(folder: str) -> Side:
    """The in-process generator with its settings as they are."""
    from aftertrain.core.generator import GenerationRequest, Sampling
    from aftertrain.plugins.generation.settings import TransformersSettings
    from aftertrain.plugins.generation.transformers import Transformers

    generator = Transformers(TransformersSettings(device="cpu"), None)  # type: ignore[arg-type]
    generator.open(folder)

    def reply(prompts: Sequence[tuple[int, ...]], length: int) -> int:
        sampling = Sampling(max_new_tokens=length)
        requests = [GenerationRequest(str(i), prompt, sampling, i) for i, prompt in enumerate(prompts)]
        return sum(len(completion.token_ids) for completion in generator.generate(requests))

    return reply


def _counted(replies: Sequence[Sequence[int]], ends: set[int]) -> int:
    """Tokens up to each reply's end, which counts."""
    return sum(next((n for n, token in enumerate(reply, 1) if token in ends), len(reply)) for reply in replies)


def peers(folder: str) -> tuple[dict[int, Side], Side]:
    """`generate` by its batch size, and `generate_batch`."""
    import torch
    from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    end = model.generation_config.eos_token_id
    drawn: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    drawn |= {"eos_token_id": end, "pad_token_id": end}

    def batched(size: int) -> Side:
        def reply(prompts: Sequence[tuple[int, ...]], length: int) -> int:
            count = 0
            ordered = sorted(prompts, key=len)
            for start in range(0, len(ordered), size):
                batch = ordered[start : start + size]
                longest = max(map(len, batch))
                ids = torch.tensor([(end,) * (longest - len(prompt)) + prompt for prompt in batch])
                mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in batch])
                made = model.generate(ids, attention_mask=mask, max_new_tokens=length, **drawn)
                count += _counted(made[:, longest:].tolist(), {end})
            return count

        return reply

    def continuous(prompts: Sequence[tuple[int, ...]], length: int) -> int:
        made = model.generate_batch(
            inputs=[list(prompt) for prompt in prompts],
            generation_config=GenerationConfig(max_new_tokens=length, **drawn),
            continuous_batching_config=ContinuousBatchingConfig(num_blocks=512, max_batch_tokens=512),
            progress_bar=False,
        )
        return _counted([made[key].generated_tokens for key in made], {end})

    return {size: batched(size) for size in BATCHES}, continuous


def rate(side: Side, prompts: Sequence[tuple[int, ...]], length: int, clock: Callable[[], float]) -> float:
    """Tokens a second."""
    start = clock()
    tokens = side(prompts, length)
    return tokens / (clock() - start)


def measured(folder: str, data: Path, *, quick: bool, threads: int = 1) -> list[Row]:
    """All rows."""
    import torch
    from transformers import AutoTokenizer

    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    unit = "tok/s of cpu" if threads == 1 else "tok/s of wall"
    length, rounds = (12, 1) if quick else (64, 3)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = [f"Question: {row['question']}\nAnswer:" for row in lines(data / "gsm8k" / "test.jsonl")[: max(COUNTS)]]
    prompts = [tuple(ids) for ids in tokenizer(asked)["input_ids"]]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        never = endless(folder, Path(scratch) / "model")
        mine, (batched, continuous) = ours(never), peers(never)
        for side in (mine, *batched.values(), continuous):
            side(prompts[:2], 2)
        for count in COUNTS:
            sizes = [size for size in BATCHES if size <= count][-1 if quick else 0 :] or [min(BATCHES)]
            sides = {"ours": mine, **{f"generate {size}": batched[size] for size in sizes}, "continuous": continuous}
            rates: dict[str, list[float]] = {name: [] for name in sides}
            for _ in range(rounds):
                for name, side in sides.items():
                    rates[name].append(rate(side, prompts[:count], length, clock))
            medians = {name: statistics.median(found) for name, found in rates.items()}
            best = max(medians[f"generate {size}"] for size in sizes)
            own = medians["ours"]
            rows.append(Row(f"generation {count}", unit, own, best, own / best))
            other = medians["continuous"]
            rows.append(Row(f"generation {count}: continuous batching", unit, own, other, own / other))
        del mine, batched, continuous
    mine, (batched, _) = ours(folder), peers(folder)
    longest, sizes = (16, BATCHES[-1:]) if quick else (128, BATCHES)
    own = rate(mine, prompts, longest, clock)
    best = max(rate(batched[size], prompts, longest, clock) for size in sizes)
    rows.append(Row("generation 64: to the end", unit, own, best, own / best))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "12 tokens a reply (16 of those to the end), one round, generate at its largest batch")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    missing = [name for name in ("AFTERTRAIN_DATA", "AFTERTRAIN_SMOLLM2") if name not in os.environ]
    if missing:
        sys.exit(f"set {' and '.join(missing)}: the folders of the data and of SmolLM2-135M")
    folder, data = os.environ["AFTERTRAIN_SMOLLM2"], Path(os.environ["AFTERTRAIN_DATA"])
    show(measured(folder, data, quick=options.quick, threads=options.threads), options.json)


if __name__ == "__main__":
    main()
