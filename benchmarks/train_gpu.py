"""Training on one GPU: tokens per second, model FLOP utilisation and memory, in under eight minutes.

    python benchmarks/train_gpu.py                 # all cases, one table
    python benchmarks/train_gpu.py --dry-run       # the same code on a CPU with a tiny model

Shapes of Qwen3-0.6B and Llama-3.2-1B with random weights, bfloat16 products over float32 weights, random tokens packed
to the budget from segments of 512 to 2,048. SFT learns from all tokens; DPO from pairs that share half their length,
reference log-probs given. A step is forward, backward, clip and AdamW on one micro-batch.

FLOPs: 6 a weight and token (the head's only where there is a target, the embedding's none), and 6 · layers · width ·
length a token for causal attention; what is computed twice by checkpointing is not counted, and tokens that a pair
shares are counted as computed once ("computed") while the rate counts both. MFU is against --peak, dense bfloat16
TFLOP/s of the device (989 for an H100 or H200). A case that runs out of memory is a row that says so.

Figures that prime-rl publishes of an H100 with Qwen3-0.6B: 26.0k tokens/s, 16.8 %, 31.7 GiB at 8k; 25.5k, 23.7 %,
52.8 GiB at 16k.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from table import add_options

from aftertrain.core.batch import CHOSEN, REJECTED, PackedBatch
from aftertrain.core.engine import AdamW
from aftertrain.core.errors import MissingExtra
from aftertrain.core.learning.step import train_step
from aftertrain.core.packed.layout import PackedLayout, shared_prefixes
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.plugins.losses.dpo import DPO
from aftertrain.plugins.losses.settings import DPOSettings, SFTSettings
from aftertrain.plugins.losses.sft import SFT
from aftertrain.plugins.torch_engine.engine import TorchEngine
from aftertrain.testing.build import build

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3-0.6b": (
        "Qwen3Config",
        {
            "vocab_size": 151_936,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "tie_word_embeddings": True,
        },
    ),
    "llama-3.2-1b": (
        "LlamaConfig",
        {
            "vocab_size": 128_256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "tie_word_embeddings": True,
        },
    ),
    "tiny": (
        "LlamaConfig",
        {
            "vocab_size": 512,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "tie_word_embeddings": True,
        },
    ),
}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    model: str
    loss: str
    tokens: int
    checkpointing: bool | str = False
    compile: bool = False
    head_kernel: str | None = None

    @property
    def label(self) -> str:
        """What the row is called."""
        extra = f", checkpointing {self.checkpointing}" if self.checkpointing else ""
        extra += ", compiled" if self.compile else ""
        extra += f", head {self.head_kernel}" if self.head_kernel else ""
        return f"{self.model} {self.loss} {self.tokens}{extra}"


CASES = (
    Case("qwen3-0.6b", "sft", 8192),
    Case("qwen3-0.6b", "sft", 16_384),
    Case("qwen3-0.6b", "sft", 16_384, compile=True),
    Case("qwen3-0.6b", "dpo", 16_384),
    Case("qwen3-0.6b", "sft", 65_536, checkpointing=True),
    Case("llama-3.2-1b", "sft", 8192),
    Case("llama-3.2-1b", "sft", 16_384),
    Case("llama-3.2-1b", "sft", 16_384, compile=True),
    Case("llama-3.2-1b", "dpo", 16_384),
    Case("llama-3.2-1b", "sft", 65_536, checkpointing="selective"),
    Case("qwen3-0.6b", "sft", 16_384, head_kernel="liger"),
    Case("qwen3-0.6b", "sft", 16_384, head_kernel="cut_cross_entropy"),
    Case("qwen3-0.6b", "dpo", 16_384, head_kernel="liger"),
)


@dataclass
class Result:
    """What one case did; the figures of a case that ran out of memory are 0."""

    label: str
    tokens_per_second: float = 0.0
    mfu: float = 0.0
    gib: float = 0.0
    seconds: float = 0.0
    loss: float = 0.0
    note: str = ""


def batch_of(case: Case, vocabulary: int, longest: int, seed: int) -> PackedBatch:
    """A micro-batch filled to the budget: single segments, or pairs whose halves are the same."""
    rng = random.Random(seed)
    segments: list[Segment] = []
    room = case.tokens
    while room >= longest // 4:
        length = min(rng.randint(longest // 4, longest), room if case.loss == "sft" else room // 2)
        ids = [rng.randrange(3, vocabulary) for _ in range(length)]
        group = len(segments)
        if case.loss == "sft":
            segments.append(Segment(str(group), ids, [True] * length, group=group))
            room -= length
            continue
        shared = length // 2
        mask = [at >= shared for at in range(length)]
        columns = {"reference_logprobs": [-6.0] * length}
        other = ids[:shared] + [rng.randrange(3, vocabulary) for _ in range(length - shared)]
        for role, tokens in ((CHOSEN, ids), (REJECTED, other)):
            segments.append(Segment(str(group), tokens, mask, role=role, group=group, columns=columns))
        room -= 2 * length
    return collate(segments)


def flops(engine: TorchEngine, config: Any, batch: PackedBatch) -> float:
    """Of one step, forward and backward; see the module's docstring."""
    groups = batch.segments["group"].tolist()
    prefixes = shared_prefixes(batch.token_ids, batch.lengths, groups)
    computed = PackedLayout(batch.lengths, torch.device("cpu"), prefixes=prefixes).n_own
    embedding = config.vocab_size * config.hidden_size
    layers = engine.n_parameters - embedding
    width = config.num_attention_heads * config.head_dim
    attention = sum(6.0 * config.num_hidden_layers * width * n * n for n in batch.lengths)
    return 6.0 * layers * computed + 6.0 * embedding * float(batch.targets.sum()) + attention


def run(case: Case, folder: str, device: str, *, steps: int, peak: float, longest: int) -> Result:
    """Measure one case."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    engine = build(
        "engine",
        "torch",
        device=device,
        dtype="bfloat16",
        activation_checkpointing=case.checkpointing,
        compile=case.compile,
        head_kernel=case.head_kernel,
    )
    builder: Any = None
    loss: Any = SFT(SFTSettings(reduction="token_mean"), builder)
    if case.loss == "dpo":
        loss = DPO(DPOSettings(beta=0.1), builder)
    result = Result(case.label)
    gpu = device == "cuda"
    try:
        engine.load(folder, optimizer=AdamW())
        batches = [batch_of(case, config.vocab_size, longest, seed) for seed in range(steps + 2)]
        for batch in batches[:2]:  # moments are made, kernels chosen, layers compiled
            train_step({"policy": engine}, loss, [batch], {"policy": 1e-5}, step=1, progress=1.0)
        if gpu:
            torch.cuda.synchronize()
        started = time.perf_counter()
        for batch in batches[2:]:
            done = train_step({"policy": engine}, loss, [batch], {"policy": 1e-5}, step=1, progress=1.0)
        if gpu:
            torch.cuda.synchronize()
        result.seconds = (time.perf_counter() - started) / steps
        result.loss = done.losses["policy"]
        tokens = sum(batch.n_tokens for batch in batches[2:]) / steps
        work = sum(flops(engine, config, batch) for batch in batches[2:]) / steps
        result.tokens_per_second = tokens / result.seconds
        result.mfu = work / result.seconds / (peak * 1e12)
        result.note = f"attention {engine.kernel}"
    except torch.OutOfMemoryError:
        result.note = "out of memory"
    except MissingExtra as error:
        result.note = f"left out: {error}"
    if gpu:
        result.gib = torch.cuda.max_memory_allocated() / 2**30
        del engine
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return result


def random_model(name: str, parent: Path) -> str:
    """A folder with random weights of a shape."""
    import transformers

    kind, sizes = SHAPES[name]
    folder = parent / name
    if not folder.exists():
        config = getattr(transformers, kind)(**sizes, max_position_embeddings=131_072, pad_token_id=0)
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose label holds this text")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--peak", type=float, default=989.0, help="dense bfloat16 TFLOP/s of the device")
    parser.add_argument("--deadline", type=float, default=450.0, help="seconds after which no case is begun")
    add_options(parser, "2 steps a case")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, with a tiny model and 256 tokens")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps = 2
    device, longest = ("cpu", 64) if arguments.dry_run else ("cuda", 2048)
    if device == "cuda" and not torch.cuda.is_available():
        print("left out: no GPU; --dry-run goes without")
        return
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU, dry run"
    print(f"{where}, torch {torch.__version__}, {arguments.steps} steps a case, peak {arguments.peak} TFLOP/s")
    begun = time.perf_counter()
    results = []
    with tempfile.TemporaryDirectory() as parent:
        for case in CASES:
            if arguments.only not in case.label:
                continue
            if time.perf_counter() - begun > arguments.deadline:
                results.append(Result(case.label, note="left out: no time left"))
                continue
            if arguments.dry_run:
                case = replace(case, model="tiny", tokens=256, compile=False, head_kernel=None)  # noqa: PLW2901
            folder = random_model(case.model, Path(parent))
            result = run(case, folder, device, steps=arguments.steps, peak=arguments.peak, longest=longest)
            results.append(result)
            print(f"  {result.label}: {result.seconds:.3f} s a step", flush=True)
    print(f"{'case':<52} {'tok/s':>9} {'MFU %':>6} {'GiB':>6} {'s/step':>7} {'loss':>7}  note")
    for each in results:
        print(
            f"{each.label:<52} {each.tokens_per_second:9.0f} {100 * each.mfu:6.1f} {each.gib:6.1f} "
            f"{each.seconds:7.3f} {each.loss:7.3f}  {each.note}"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(each) for each in results], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
