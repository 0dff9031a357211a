"""A step of online learning on one GPU: seconds by part, tokens per second, model FLOP utilisation and memory.

    python benchmarks/online_gpu.py                # all cases, one table
    python benchmarks/online_gpu.py --dry-run      # the same code on a CPU with a tiny model

Shapes of Qwen3-0.6B and Llama-3.2-1B, random weights, bfloat16. A step draws `samples` replies to each prompt with the
in-process generator, learns from them by one GRPO update (forward, backward, clip, AdamW) on packed micro-batches
whose prompts are computed once, and hands the weights to the generator. Rewards are made up. No reply ends before its
last token, as random weights draw the end of sequence once in a hundred thousand tokens.

FLOPs of the update are those of `train_gpu.py`; of generation 2 a weight and token, the prompt's once, and 4 · layers ·
width · context a token for attention. MFU is against --peak, of the update alone and of the whole step. prime-rl
publishes 11.1 % of a step at 16k on one H100.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from table import add_options
from train_gpu import flops, random_model

from aftertrain.core.engine import AdamW
from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.learning.step import train_step
from aftertrain.core.packed.packing import Segment, pack
from aftertrain.testing.build import build
from aftertrain.testing.model import tiny_tokenizer


@dataclass(frozen=True)
class Case:
    """One row of the table: `prompts` of `context` tokens with `samples` replies of `reply` tokens each."""

    model: str
    prompts: int
    samples: int
    context: int
    reply: int
    micro_tokens: int

    @property
    def label(self) -> str:
        """What the row is called."""
        return (
            f"{self.model} {self.prompts}x{self.samples} of {self.context}+{self.reply}, packed to {self.micro_tokens}"
        )


CASES = (
    Case("qwen3-0.6b", 16, 8, 512, 1024, 16_384),
    Case("qwen3-0.6b", 8, 8, 2048, 2048, 18_432),
    Case("llama-3.2-1b", 16, 8, 512, 1024, 16_384),
)


@dataclass
class Result:
    """What one case did in a step; the figures of a case that ran out of memory are 0."""

    label: str
    generate: float = 0.0
    update: float = 0.0
    publish: float = 0.0
    reply_tokens_per_second: float = 0.0
    update_mfu: float = 0.0
    step_mfu: float = 0.0
    gib: float = 0.0
    note: str = ""


class Clock:
    """Seconds of what ran on the device since it was asked last."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.lap()

    def lap(self) -> float:
        """Wait for the device."""
        if self._device == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        passed, self._last = now - getattr(self, "_last", now), now
        return passed


def generation_flops(engine: Any, config: Any, case: Case) -> float:
    """Of all replies of a step; see the module's docstring."""
    weights = engine.n_parameters  # the tied embedding is the head
    replies = case.prompts * case.samples
    tokens = case.prompts * case.context + replies * case.reply
    width = config.num_attention_heads * config.head_dim
    seen = case.prompts * case.context**2 / 2 + replies * case.reply * (case.context + case.reply / 2)
    return 2.0 * weights * tokens + 4.0 * config.num_hidden_layers * width * seen


def run(case: Case, folder: str, device: str, *, steps: int, peak: float) -> Result:
    """Measure one case; the first step is a warm-up."""
    from transformers import AutoConfig

    config, result = AutoConfig.from_pretrained(folder), Result(case.label)
    dtype = "bfloat16" if device == "cuda" else "float32"
    engine = build("engine", "torch", device=device, dtype=dtype)
    generator = build("generator", "transformers", device=device, dtype=dtype, batch=case.prompts * case.samples)
    loss = build("loss", "grpo")
    draw = torch.Generator().manual_seed(0)
    sampling = Sampling(max_new_tokens=case.reply)
    try:
        engine.load(folder, optimizer=AdamW())
        generator.open(folder)
        for step in range(steps + 1):
            prompts = torch.randint(3, config.vocab_size, (case.prompts, case.context), generator=draw).tolist()
            requests = [
                GenerationRequest(f"{group}/{number}", tuple(prompt), sampling, 1000 * group + number)
                for group, prompt in enumerate(prompts)
                for number in range(case.samples)
            ]
            clock = Clock(device)
            completions = generator.generate(requests, 3600.0)
            generate = clock.lap()
            atoms = []
            for place, made in enumerate(completions):
                n, reply = len(made.prompt_ids), len(made.token_ids)
                columns = {
                    "old_logprobs": (*[0.0] * n, *made.logprobs),
                    "advantages": (*[0.0] * n, *[(-1.0) ** place] * reply),
                }
                mask = [False] * n + [True] * reply
                ids = (*made.prompt_ids, *made.token_ids)
                atoms.append([Segment(made.id, ids, mask, group=place // case.samples, columns=columns)])
            batches = pack(atoms, case.micro_tokens, shared=True)
            train_step({"policy": engine}, loss, batches, {"policy": 1e-6}, step=step + 1, progress=1.0)
            update = clock.lap()
            generator.update_weights(engine.weights(), step + 1)
            publish = clock.lap()
            if step == 0:
                continue
            learnt = sum(flops(engine, config, batch) for batch in batches)
            whole = learnt + generation_flops(engine, config, case)
            seconds = generate + update + publish
            result.generate += generate / steps
            result.update += update / steps
            result.publish += publish / steps
            result.reply_tokens_per_second += sum(len(made.token_ids) for made in completions) / seconds / steps
            result.update_mfu += learnt / update / (peak * 1e12) / steps
            result.step_mfu += whole / seconds / (peak * 1e12) / steps
            result.note = f"attention {engine.kernel}, {len(batches)} micro-batches"
    except torch.OutOfMemoryError:
        result = Result(case.label, note="out of memory")
    finally:
        generator.close()
    if device == "cuda":
        result.gib = torch.cuda.max_memory_allocated() / 2**30
        del engine, generator
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose label holds this text")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--peak", type=float, default=989.0, help="dense bfloat16 TFLOP/s of the device")
    parser.add_argument("--deadline", type=float, default=400.0, help="seconds after which no case is begun")
    add_options(parser, "1 step a case")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, with a tiny model and short replies")
    arguments = parser.parse_args()
    steps = 1 if arguments.quick else arguments.steps
    device = "cpu" if arguments.dry_run else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        print("left out: no GPU; --dry-run goes without")
        return
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU, dry run"
    print(f"{where}, torch {torch.__version__}, {steps} steps a case, peak {arguments.peak} TFLOP/s")
    begun, results = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as parent:
        for case in CASES:
            if arguments.only not in case.label:
                continue
            if time.perf_counter() - begun > arguments.deadline:
                results.append(Result(case.label, note="left out: no time left"))
                continue
            if arguments.dry_run:
                small = {"prompts": 2, "samples": 3, "context": 20, "reply": 8, "micro_tokens": 64}
                case = replace(case, model="tiny", **small)  # noqa: PLW2901
            folder = random_model(case.model, Path(parent))
            tiny_tokenizer().save_pretrained(folder)
            results.append(run(case, folder, device, steps=steps, peak=arguments.peak))
    heads = " ".join(f"{name:>8}" for name in ("generate", "update", "publish", "tok/s", "update %", "step %", "GiB"))
    print(f"{'case':<56} {heads}")
    for each in results:
        print(
            f"{each.label:<56} {each.generate:8.2f} {each.update:8.2f} {each.publish:8.2f} "
            f"{each.reply_tokens_per_second:8.0f} {100 * each.update_mfu:8.1f} {100 * each.step_mfu:8.1f} "
            f"{each.gib:8.1f}  {each.note}"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(each) for each in results], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
