"""Offline training: ours beside TRL's trainers, step by step in turn, on the same model, rows, precision and optimizer.

    AFTERTRAIN_DATA=… AFTERTRAIN_SMOLLM2=… python benchmarks/train.py --only sft-packing,dpo-cached

Each side is a process of its own. TRL's does a step; the samples it was fed (its own tokens, masks and order) go to
ours, which trains on exactly these; and so on in turn, so that a machine that is busy or slow is so for both. The first
step of each is a warm-up. Both compute entropy and token accuracy at every step (SFT and DPO), clip at 1.0 and use
AdamW in float32. TRL's batch is fetched before its clock starts; packing ours is in our time.

Tokens are those of the samples, padding left out, a pair's prompt counted twice. Rates are of CPU seconds where one
thread is used, as other programs do not change those, else of wall seconds. Memory is the kernel's peak of the process
(VmHWM, forgotten after the warm-up step), as libraries and allocators are a user's memory too; "activation memory" is
what is above the imports, and 16 bytes a weight for float32 weights, gradients and moments (4 more for a reference).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from children import Child
from table import Row, add_options, show
from train_child import Spec


@contextmanager
def children(spec: Spec) -> Iterator[tuple[Child, Child]]:
    """Ours and the peer."""
    arguments = [json.dumps(asdict(spec))]
    peer, ours = (Child(f"train_{side}_child.py", arguments, spec.threads) for side in ("peer", "ours"))
    try:
        yield ours, peer
    finally:
        ours.end()
        peer.end()


@dataclass(frozen=True)
class Step:
    """One step of both sides on the same samples."""

    tokens: int
    ours: dict[str, Any]
    peer: dict[str, Any]

    def seconds(self, side: str, threads: int) -> float:
        """Of the side `ours` or `peer`."""
        found: float = getattr(self, side)["cpu" if threads == 1 else "wall"]
        return found


def measure(spec: Spec) -> list[Step]:
    """The steps after the warm-up."""
    steps = []
    with children(spec) as (ours, peer):
        ready = peer.hear()
        ours.tell(head=ready["head"])
        ours.hear()
        for number in range(spec.steps):
            peer.tell(do="step")
            theirs = peer.hear()
            samples = theirs.pop("segments")
            ours.tell(do="step", samples=samples)
            mine = ours.hear()
            if number > 0:
                steps.append(Step(sum(len(ids) for ids, _ in samples), mine, theirs))
    return steps


def rows_of(spec: Spec, label: str, steps: list[Step]) -> list[Row]:
    """Tokens per second, peak and activation memory, and the loss of the first measured step."""
    rates = {side: [step.tokens / step.seconds(side, spec.threads) for step in steps] for side in ("ours", "peer")}
    ratio = statistics.median(step.seconds("peer", spec.threads) / step.seconds("ours", spec.threads) for step in steps)
    mine, theirs = (statistics.median(rates[side]) for side in ("ours", "peer"))
    unit = "tok/cpu-s" if spec.threads == 1 else "tok/s"
    peaks = {side: max(getattr(step, side)["peak"] for step in steps) / 2**30 for side in ("ours", "peer")}
    fixed = {side: getattr(steps[0], side)["fixed"] / 2**30 for side in ("ours", "peer")}
    above = {side: peaks[side] - fixed[side] for side in peaks}
    worst = max(abs(step.ours["loss"] - step.peer["loss"]) for step in steps)
    found = [
        Row(f"{label}: rate", unit, mine, theirs, ratio),
        Row.less_is_better(f"{label}: peak memory", "GiB", peaks["ours"], peaks["peer"]),
        Row.less_is_better(f"{label}: activation memory", "GiB", above["ours"], above["peer"]),
        Row(f"{label}: loss, first step", "nats", steps[0].ours["loss"], steps[0].peer["loss"]),
        Row(f"{label}: largest difference of losses", "nats", worst),
    ]
    if label.startswith("overhead"):
        each = {side: statistics.median(1 / step.seconds(side, spec.threads) for step in steps) for side in rates}
        found.insert(0, Row(f"{label}: steps", "steps/s", each["ours"], each["peer"], ratio))
    return found


def tiny(folder: Path, tokenizer: str) -> str:
    """A Llama of hidden size 128 and 4 layers with random weights and the tokenizer of `tokenizer`."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    words = AutoTokenizer.from_pretrained(tokenizer)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(words),
        tie_word_embeddings=True,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


CASES = ("sft-packing", "sft-padding", "sft-padding_free", "dpo-live", "dpo-cached", "reward", "overhead")


def specs(arguments: argparse.Namespace, tiny_model: str) -> Iterator[tuple[str, Spec]]:
    """Label and comparison of each case that was asked for."""
    base = Spec(
        case="",
        model=arguments.model,
        data=arguments.data,
        rows=arguments.rows,
        micro=arguments.micro,
        steps=arguments.steps + 1,
        threads=arguments.threads,
        max_length=1024,
        micro_tokens=arguments.micro_tokens,
        mode=arguments.mode,
    )
    for case in arguments.only:
        if case == "overhead":
            steps = base.steps if arguments.quick else 8 * arguments.steps
            small = replace(base, case="sft-padding", model=tiny_model, rows=4, micro=4, steps=steps)
            yield case, small
        elif case == "sft-packing":
            yield case, replace(base, case=case, rows=max(1, arguments.rows // 4), micro=1)
        elif case.startswith("sft"):
            yield case, replace(base, case=case)
        else:
            yield case, replace(base, case=case, rows=max(1, arguments.rows // 2), micro=max(1, arguments.micro // 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--model", default=os.environ.get("AFTERTRAIN_SMOLLM2"), help="folder; or AFTERTRAIN_SMOLLM2")
    parser.add_argument("--data", default=os.environ.get("AFTERTRAIN_DATA"), help="folder; or AFTERTRAIN_DATA")
    parser.add_argument("--rows", type=int, default=16, help="rows of a step; half as many pairs")
    parser.add_argument("--micro", type=int, default=4, help="rows of TRL's micro-batch; half as many pairs")
    parser.add_argument(
        "--micro-tokens", type=int, default=1024, help="our packing budget; 1024 is also the length of TRL's bins"
    )
    parser.add_argument("--steps", type=int, default=5, help="measured steps of each case")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--mode",
        choices=("lean", "none", "selective", "full"),
        default="lean",
        help="what ours keeps for the backward pass: as it does by itself, as transformers does, or checkpoints",
    )
    add_options(
        parser, "one step of 2 rows after the warm-up, the tiny model in all cases: that it runs, and the losses"
    )
    arguments = parser.parse_args()
    if odd := set(arguments.only) - set(CASES):
        parser.error(f"--only knows {', '.join(CASES)}; not {', '.join(sorted(odd))}")
    for name in ("model", "data"):
        if getattr(arguments, name) is None:
            print(f"left out: --{name} is needed, or its environment variable")
            return
    if find_spec("trl") is None:
        print("left out: trl is not installed")
        return
    if arguments.quick:
        arguments.steps, arguments.rows, arguments.micro = 1, 2, 2
    print(f"beside trl {version('trl')}, float32, {arguments.threads} thread(s), medians of {arguments.steps} steps")
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        needs_tiny = arguments.quick or "overhead" in arguments.only
        model = tiny(Path(folder) / "tiny", arguments.model) if needs_tiny else ""
        if arguments.quick:
            arguments.model = model
        for label, spec in specs(arguments, model):
            rows = rows_of(spec, label, measure(spec))
            show(rows, None)
            found += rows
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
