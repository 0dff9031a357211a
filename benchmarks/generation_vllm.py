"""Generation by the generator `vllm` beside that of `transformers`: SmolLM2-135M, float32, one thread.

    AFTERTRAIN_VLLM_PYTHON=… AFTERTRAIN_SMOLLM2=… python benchmarks/generation_vllm.py [--quick] [--json]

`reference vllm N`: N prompts of 20 to 100 tokens, every reply of 64 tokens at temperature 1, as the model's end of
sequence is replaced by a token that it does not draw. Rates are of CPU seconds, vLLM's of its server's; sides are
warmed up and take turns, and rows hold medians of three.
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

from online import endless
from table import Row, add_options, show

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
COUNTS = (1, 16, 64)
Prompts = Sequence[tuple[int, ...]]


def served(folder: str, python: str) -> tuple[Any, Callable[[], float]]:
    """The opened generator, and the clock of its server's CPU seconds."""
    from aftertrain.plugins.vllm_generator.generator import Vllm
    from aftertrain.plugins.vllm_generator.settings import VllmSettings

    settings = VllmSettings(python=python, cache_gib=1, context=2048, prefix_cache=False)
    generator = Vllm(settings, None)  # type: ignore[arg-type]  # it builds nothing
    generator.open(folder)
    stat = Path(f"/proc/{generator.server_process}/stat")

    def clock() -> float:
        fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    return generator, clock


def rate(generator: Any, clock: Callable[[], float], prompts: Prompts, length: int) -> float:
    """Tokens a second of `clock`."""
    from aftertrain.core.generator import GenerationRequest, Sampling

    requests = [GenerationRequest(str(i), p, Sampling(max_new_tokens=length), i) for i, p in enumerate(prompts)]
    start = clock()
    tokens = sum(len(completion.token_ids) for completion in generator.generate(requests, 600))
    return tokens / (clock() - start)


def drawn_prompts(count: int) -> list[tuple[int, ...]]:
    """Random token ids of unlike lengths, the same each time."""
    import torch

    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(20, 100, (count,), generator=draw).tolist()
    return [tuple(torch.randint(100, 40_000, (length,), generator=draw).tolist()) for length in lengths]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "12 tokens a reply, one round")
    options = parser.parse_args()
    python, model = os.environ.get("AFTERTRAIN_VLLM_PYTHON"), os.environ.get("AFTERTRAIN_SMOLLM2")
    if python is None or model is None:
        sys.exit("set AFTERTRAIN_VLLM_PYTHON, an interpreter with vllm (bash .ci/vllm DIR), and AFTERTRAIN_SMOLLM2")
    import torch

    from aftertrain.plugins.generation.settings import TransformersSettings
    from aftertrain.plugins.generation.transformers import Transformers

    torch.set_num_threads(1)
    length, rounds = (12, 1) if options.quick else (64, 3)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = endless(model, Path(scratch) / "model")
        ours = Transformers(TransformersSettings(device="cpu"), None)  # type: ignore[arg-type]
        ours.open(folder)
        theirs, clock = served(folder, python)
        try:
            sides = {"transformers": (ours, time.process_time), "vllm": (theirs, clock)}
            for generator, one in sides.values():
                rate(generator, one, drawn_prompts(2), 2)
            for count in COUNTS:
                prompts = drawn_prompts(count)
                rates: dict[str, list[float]] = {name: [] for name in sides}
                for _ in range(rounds):
                    for name, (generator, one) in sides.items():
                        rates[name].append(rate(generator, one, prompts, length))
                own, other = (statistics.median(rates[name]) for name in ("transformers", "vllm"))
                rows.append(Row(f"reference vllm {count}", "tok/s of cpu", own, other, own / other))
        finally:
            theirs.close()
    show(rows, options.json)


if __name__ == "__main__":
    main()
