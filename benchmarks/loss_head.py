"""The LM head alone: log-probabilities of targets from hidden states, forward and backward, time and peak memory.

    python benchmarks/loss_head.py                         # this machine's CPU, float32, 2,048 tokens
    python benchmarks/loss_head.py --device cuda --tokens 16384 --dtype bfloat16

Ours (`core.packed.logprobs.token_scores`) beside others, as far as they are installed and run on the device: full
logits with torch's cross-entropy; the same in chunks under torch's activation checkpointing (what a trainer writes
first); TRL's chunked head; and on a GPU Liger's and cut-cross-entropy's fused losses, each as its package has it (one
sum; cut filters gradients) and as our `head_kernel` (a score and a gradient for each token, no filter). Qwen3-0.6B's
shape: hidden 1,024, vocabulary 151,936. Each runs in a process of its own. CPU: seconds are of the CPU where one thread
is used, memory is VmHWM above what was held before the first pass (hidden states, head and their gradients included
beforehand). GPU: seconds of the device, memory is the allocator's peak above the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from table import Row, add_options, show
from train_child import MARK, Sample, available, forget_peak, resident, say

Pass = Callable[[Any, Any, Any], Any]
"""Hidden states `[N, H]`, head `[V, H]` and ids `[N]` to the sum of the log-probabilities of the ids."""


def _ours(hidden: Any, weight: Any, ids: Any) -> Any:
    import torch

    from aftertrain.core.packed.logprobs import token_scores

    # Row i is predicted by the state before it: one state more, so that every id has one.
    mask = torch.ones(len(ids) + 1, dtype=torch.bool, device=ids.device)
    mask[0] = False
    padded = torch.cat([ids[:1], ids])
    states = torch.cat([hidden, hidden[:1]])
    logprobs = token_scores(states, weight, padded, mask, ("logprobs",)).logprobs
    assert logprobs is not None
    return logprobs.sum()


def _full(hidden: Any, weight: Any, ids: Any) -> Any:
    import torch

    return -torch.nn.functional.cross_entropy((hidden @ weight.t()).float(), ids, reduction="sum")


def _checkpointed(hidden: Any, weight: Any, ids: Any) -> Any:
    from torch.utils.checkpoint import checkpoint

    parts = zip(hidden.split(256), ids.split(256), strict=True)
    return sum(checkpoint(_full, part, weight, targets, use_reentrant=False) for part, targets in parts)


def _trl(hidden: Any, weight: Any, ids: Any) -> Any:
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    return ChunkedLogProbFunction.apply(hidden, weight, None, ids, 1.0, 8192, None, 1.0, ())[0].sum()  # type: ignore[no-untyped-call]


def _liger(hidden: Any, weight: Any, ids: Any) -> Any:
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    return -LigerFusedLinearCrossEntropyLoss(reduction="sum")(weight, hidden, ids)


def _cut(hidden: Any, weight: Any, ids: Any) -> Any:
    from cut_cross_entropy import linear_cross_entropy

    return -linear_cross_entropy(hidden, weight, ids, reduction="sum")


def _kernel(name: str) -> Pass:
    """One of our head kernels, which give a log-probability for each token."""

    @cache
    def made() -> Any:
        from aftertrain.testing.build import build

        return build("head_kernel", name)

    def run(hidden: Any, weight: Any, ids: Any) -> Any:
        from aftertrain.core.head_kernel import LMHead

        head = LMHead(weight, None, 1.0, None)
        made().check(head, hidden.device, hidden.dtype)
        return made()(hidden, head, ids, {"logprobs"}, temperature=1.0)["logprobs"].sum()

    return run


HEADS: dict[str, Pass] = {
    "ours": _ours,
    "full logits": _full,
    "checkpointed chunks": _checkpointed,
    "trl": _trl,
    "liger": _liger,
    "cut-cross-entropy": _cut,
    "head_kernel liger": _kernel("liger"),
    "head_kernel cut_cross_entropy": _kernel("cut_cross_entropy"),
}
GPU_ONLY = {name for name in HEADS if "liger" in name or "cut" in name}


def child(head: str, arguments: argparse.Namespace) -> None:
    """Measure one head and say what was found."""
    import torch

    torch.set_num_threads(arguments.threads)
    dtype = getattr(torch, arguments.dtype)
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(arguments.tokens, arguments.hidden, generator=draw)
    weight = torch.randn(arguments.vocabulary, arguments.hidden, generator=draw).mul_(0.02)
    hidden, weight = (each.to(arguments.device, dtype).requires_grad_() for each in (hidden, weight))
    ids = torch.randint(arguments.vocabulary, (arguments.tokens,), generator=draw).to(arguments.device)
    hidden.grad, weight.grad = torch.zeros_like(hidden), torch.zeros_like(weight)
    gpu = arguments.device == "cuda"
    run = HEADS[head]
    run(hidden[:8], weight, ids[:8]).backward()  # imports and kernels
    for each in (hidden, weight):
        each.grad.zero_()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if gpu else resident()
    forget_peak()
    seconds = []
    for _ in range(arguments.times):
        for each in (hidden, weight):
            each.grad.zero_()
        started = time.perf_counter()
        with Sample() as sample:
            total = run(hidden, weight, ids)
            total.backward()
            if gpu:
                torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started if gpu or arguments.threads > 1 else sample.cpu)
    peak = torch.cuda.max_memory_allocated() if gpu else resident("VmHWM")
    say(
        seconds=min(seconds),
        memory=(peak - before) / 2**30,
        loss=float(total.detach()) / arguments.tokens,
        gradient=float(hidden.grad.float().norm()),
        gradient_of_head=float(weight.grad.float().norm()),
    )


def too_large(head: str, arguments: argparse.Namespace) -> str:
    """Why a head cannot be tried here: full logits stand in memory three times, twice of them in float32."""
    if head != "full logits" or arguments.device != "cpu":
        return ""
    narrow = 2 if arguments.dtype == "bfloat16" else 4
    need = arguments.tokens * arguments.vocabulary * (narrow + 4 + 4)
    free = available()
    return f"needs {need / 2**30:.0f} GiB, {free / 2**30:.0f} GiB are free" if need > 0.9 * free else ""


def measured(head: str, words: list[str]) -> dict[str, Any] | str:
    """What a process of this head said, or the last line of why it could not."""
    command = [sys.executable, str(Path(__file__)), *words, "--head", head]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            found: dict[str, Any] = json.loads(line.removeprefix(MARK))
            return found
    return (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--head", choices=list(HEADS), help=argparse.SUPPRESS)
    add_options(parser, "256 tokens, once")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tokens, arguments.times = 256, 1
    if arguments.head is not None:
        child(arguments.head, arguments)
        return
    words = [word for word in sys.argv[1:] if not word.startswith("--json")]
    if arguments.json is not None:
        words = [word for word in words if word != str(arguments.json)]
    print(f"{arguments.tokens} tokens, vocabulary {arguments.vocabulary}, {arguments.dtype}, {arguments.device}")
    ours = measured("ours", words)
    if isinstance(ours, str):
        raise SystemExit(ours)
    print(f"loss {ours['loss']:.6f}, gradient norms {ours['gradient']:.6f}, {ours['gradient_of_head']:.6f}")
    rows = []
    for name in list(HEADS)[1:]:
        if name in GPU_ONLY and arguments.device == "cpu":
            print(f"{name}: left out, needs a GPU")
            continue
        if reason := too_large(name, arguments):
            print(f"{name}: left out, {reason}")
            continue
        other = measured(name, words)
        if isinstance(other, str):
            print(f"{name}: left out: {other}")
            continue
        print(f"{name}: differs by {abs(other['loss'] - ours['loss']):.1e} nats, gradient norms by ", end="")
        print(", ".join(f"{abs(other[key] / ours[key] - 1):.1e}" for key in ("gradient", "gradient_of_head")))
        rows.append(Row.less_is_better(f"time vs {name}", "s", ours["seconds"], other["seconds"]))
        rows.append(Row.less_is_better(f"memory vs {name}", "GiB", ours["memory"], other["memory"]))
    show(rows, arguments.json)


if __name__ == "__main__":
    main()
