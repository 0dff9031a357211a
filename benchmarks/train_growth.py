"""How the cost of a step grows: our tokens per second at 1k to 32k tokens a micro-batch.

    python benchmarks/train_growth.py

Supervised steps of the torch engine on random rows of 100 to 300 tokens, half of them targets, the whole batch as one
micro-batch: forward, backward, clip, AdamW. By default a Llama of hidden size 128 and 4 layers with a vocabulary of
8,192, float32. CPU seconds where one thread is used; memory is VmHWM above what is held before the step.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from table import Row, add_options, show
from train_child import Sample, forget_peak, resident

from aftertrain.core.engine import AdamW
from aftertrain.core.packing import Segment, collate
from aftertrain.core.seeding import use_determinism
from aftertrain.core.step import train_step
from aftertrain.plugins.losses.settings import SFTSettings
from aftertrain.plugins.losses.sft import SFT
from aftertrain.plugins.torch_engine.engine import TorchEngine
from aftertrain.plugins.torch_engine.settings import TorchSettings


def small_model(folder: Path) -> str:
    """A folder with a small random Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder of another model")
    parser.add_argument("--threads", type=int, default=1)
    add_options(parser, "up to 8k tokens")
    arguments = parser.parse_args()
    use_determinism(arguments.threads)
    builder: Any = None
    engine = TorchEngine(TorchSettings(device="cpu"), builder)
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or small_model(Path(folder))
        vocabulary = json.loads((Path(model) / "config.json").read_text())["vocab_size"]
        engine.load(model, optimizer=AdamW())
    loss = SFT(SFTSettings(reduction="token_mean"), builder)
    rng = random.Random(0)
    rows = []
    for thousands in (1, 2, 4, 8) if arguments.quick else (1, 2, 4, 8, 16, 32):
        segments, room = [], thousands * 1024
        while room > 0:
            n = min(room, rng.randint(100, 300))
            ids = [rng.randrange(3, vocabulary) for _ in range(n)]
            segments.append(Segment(str(room), ids, [at >= n // 2 for at in range(n)], group=room))
            room -= n
        batch = collate(segments)
        best, peak, before = float("inf"), 0, 0
        for _ in range(3):
            before = resident()
            forget_peak()
            with Sample() as sample:
                train_step({"policy": engine}, loss, [batch], {"policy": 1e-5}, step=1)
            best = min(best, sample.cpu if arguments.threads == 1 else sample.wall)
            peak = max(peak, resident("VmHWM") - before)
        rows.append(Row(f"{thousands}k tokens a micro-batch", "tok/s", batch.n_tokens / best))
        rows.append(Row(f"{thousands}k tokens: memory of the step", "MiB", peak / 2**20))
    show(rows, arguments.json)


if __name__ == "__main__":
    main()
