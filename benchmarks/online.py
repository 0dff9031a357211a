"""Online reinforcement learning: a step of ours beside one of TRL's GRPOTrainer, in turn, each in its own process.

    AFTERTRAIN_DATA=… AFTERTRAIN_SMOLLM2=… python benchmarks/online.py --only step,tiny

Both sides run GRPO without a KL penalty (TRL's default) on the same prompts, with the same model, reward and optimizer
in float32: ours is the stage `online` with its events, samples and judging processes, TRL's is its trainer with
transformers' generation. The model's end-of-sequence token is replaced by one that it does not draw, so that every
reply of both has the same number of tokens. The first step of each is a warm-up.

Seconds are of the CPU where one thread is used, as other programs do not change those, and of the wall otherwise; what
judging costs in other processes is in the rows `wall`. `memory` is the peak (VmHWM) above the imports and 16 bytes a
weight for float32 weights, gradients and AdamW's moments. The rows `generation N` are those of `generation.py`.

Two rows are references, of which no trainer is the peer: `reference PPO update` is one update of policy and critic on
fixed rollouts beside a plain torch loop, which `online_update_child.py` has; `reference vllm N` are the rows of
`generation_vllm.py`, where AFTERTRAIN_VLLM_PYTHON names an interpreter with vLLM.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from children import HERE, Child
from online_child import Spec, write_questions
from table import Row, add_options, show

CASES = ("step", "tiny", "generation", "large", "update", "vllm")
NEVER_DRAWN = "<jupyter_script>"
"""A token of SmolLM2 that no text of its later training has."""
GIB = 2**30


@contextmanager
def both(scripts: Sequence[tuple[str, Sequence[str]]], threads: int) -> Iterator[list[Child]]:
    """The sides' processes, ended whatever happens."""
    with ExitStack() as stack:
        started = []
        for script, arguments in scripts:
            child = Child(script, arguments, threads)
            stack.callback(child.end)
            started.append(child)
        yield started


def measure(spec: Spec, scripts: Sequence[tuple[str, Sequence[str]]]) -> list[list[dict[str, Any]]]:
    """For each side the figures of its steps after the warm-up, made in turn."""
    told: list[list[dict[str, Any]]] = [[] for _ in scripts]
    with both(scripts, spec.threads) as sides:
        for number in range(spec.steps):
            for side, child in enumerate(sides):
                if number:
                    child.tell(do="step")
                figures = child.hear()
                if number:
                    told[side].append(figures)
    return told


def steps(spec: Spec) -> list[list[dict[str, Any]]]:
    """Ours and TRL's."""
    arguments = [json.dumps(asdict(spec))]
    return measure(spec, [("online_ours_child.py", arguments), ("online_peer_child.py", arguments)])


def updates(spec: Spec) -> list[list[dict[str, Any]]]:
    """Ours and the plain loop's."""
    text = json.dumps(asdict(spec))
    return measure(spec, [("online_update_child.py", [side, text]) for side in ("ours", "plain")])


def compared(label: str, told: list[list[dict[str, Any]]], threads: int) -> list[Row]:
    """Medians of seconds, and of the wall's where they are not the same."""
    clocks = {"cpu": label, "wall": f"{label}: wall"} if threads == 1 else {"wall": label}
    rows = []
    for clock, name in clocks.items():
        mine, theirs = ([float(figures[clock]) for figures in side] for side in told)
        ratio = statistics.median(b / a for a, b in zip(mine, theirs, strict=True))
        rows.append(Row(name, "s", statistics.median(mine), statistics.median(theirs), ratio))
    rate = [statistics.median(figures["reply_tokens"] / figures["wall"] for figures in side) for side in told]
    rows.append(Row(f"{label}: reply tokens", "tok/s of wall", rate[0], rate[1], rate[0] / rate[1]))
    return rows


def parts(label: str, told: list[list[dict[str, Any]]]) -> list[Row]:
    """Wall seconds of a step's parts as the sides tell them; TRL's generation includes the reward."""
    mine, theirs = (
        {name: statistics.median(figures["timing"].get(name, 0.0) for figures in side) for name in side[0]["timing"]}
        for side in told
    )
    names = [name for name in mine if name not in ("seconds", "tokens_per_second")]
    return [Row(f"{label}: {name}", "s of wall", mine[name], theirs.get(name)) for name in names]


def memory(label: str, told: list[list[dict[str, Any]]]) -> list[Row]:
    """Peaks, above what no trainer can do without and in all."""
    above = [max(figures["peak"] - figures["fixed"] for figures in side) / GIB for side in told]
    whole = [max(figures["peak"] for figures in side) / GIB for side in told]
    return [
        Row.less_is_better(label, "GiB", *above),
        Row.less_is_better(f"{label}: whole process", "GiB", *whole),
    ]


def endless(model: str, folder: Path) -> str:
    """A copy of a model's folder whose end of sequence is a token that it does not draw."""
    folder.mkdir()
    for path in Path(model).iterdir():
        if path.suffix == ".safetensors":
            (folder / path.name).symlink_to(path.resolve())
        else:
            shutil.copy(path, folder / path.name)
    tokens = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    ids = {token["content"]: token["id"] for token in tokens}
    end = {"eos_token_id": ids[NEVER_DRAWN], "pad_token_id": ids[NEVER_DRAWN]}
    changes = {"config.json": end, "generation_config.json": end, "tokenizer_config.json": {"eos_token": NEVER_DRAWN}}
    for name, change in changes.items():
        path = folder / name
        told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(json.dumps({**told, **change}), encoding="utf-8")
    return str(folder)


def tiny_endless(folder: Path) -> str:
    """A Llama of two layers, one token a character, which draws its end of sequence never: what is left is overhead."""
    import torch
    from transformers import AutoModelForCausalLM

    from aftertrain.testing.model import tiny_model

    model = AutoModelForCausalLM.from_pretrained(tiny_model(folder))
    with torch.no_grad():
        # The first number of each state stays positive, and speaks against the end alone.
        model.model.embed_tokens.weight[:, 0] = 4.0
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[model.config.eos_token_id, 0] = -100.0
    model.save_pretrained(folder)
    return str(folder)


def alone(script: str, arguments: argparse.Namespace, file: Path, *options: str) -> list[Row]:
    """The rows of another benchmark, run by itself."""
    command = [sys.executable, str(HERE / script), *options, "--json", str(file)]
    places = {"AFTERTRAIN_SMOLLM2": arguments.model, "AFTERTRAIN_DATA": arguments.data}
    done = subprocess.run(
        [*command, *["--quick"] * arguments.quick],
        env={**os.environ, **places, "OMP_NUM_THREADS": str(arguments.threads)},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{script} ended:\n{done.stderr[-3000:]}")
    return [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))]


def rows(arguments: argparse.Namespace, folder: Path) -> Iterator[list[Row]]:
    """Of each case that was asked for."""
    quick, threads = arguments.quick, arguments.threads
    model = endless(arguments.model, folder / "model")
    spec = Spec(
        model=model,
        questions=write_questions(Path(arguments.data), 64 * (arguments.steps + 2), folder / "questions.jsonl"),
        prompts=4 if quick else 8,
        samples=4,
        tokens=32 if quick else 64,
        steps=1 + arguments.steps,
        threads=threads,
        micro=arguments.micro,
        micro_tokens=arguments.micro_tokens,
    )
    if "step" in arguments.only:
        told = steps(spec)
        yield [*compared("step", told, threads), *parts("step", told), *memory("memory", told)]
    if "tiny" in arguments.only:
        asked = write_questions(Path(arguments.data), 640, folder / "short.jsonl", 60)
        small = replace(spec, model=tiny_endless(folder / "tiny"), questions=asked, prompts=8, tokens=64)
        told = steps(replace(small, steps=2 if quick else 1 + 3 * arguments.steps))
        yield [*compared("tiny step", told, threads), *parts("tiny step", told)]
    if "generation" in arguments.only:
        yield alone("generation.py", arguments, folder / "generation.json", "--threads", str(threads))
    if "large" in arguments.only:
        large = (
            replace(spec, prompts=4, tokens=48) if quick else replace(spec, prompts=16, samples=8, tokens=128, steps=2)
        )
        told = steps(large)
        yield [
            *compared("step 16x8x128", told, threads),
            *parts("step 16x8x128", told),
            *memory("memory 16x8x128", told),
        ]
    if "update" in arguments.only:
        told = updates(spec)
        policy = [side[0]["losses"]["policy"] for side in told]
        yield [
            *compared("reference PPO update", told, threads),
            Row("reference PPO update: policy's loss", "", *policy),
            *memory("reference PPO update: memory", told),
        ]
    if "vllm" in arguments.only and "AFTERTRAIN_VLLM_PYTHON" not in os.environ:
        print("reference vllm: left out, AFTERTRAIN_VLLM_PYTHON names no interpreter")
    elif "vllm" in arguments.only:
        yield alone("generation_vllm.py", arguments, folder / "vllm.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--model", default=os.environ.get("AFTERTRAIN_SMOLLM2"), help="folder; or AFTERTRAIN_SMOLLM2")
    parser.add_argument("--data", default=os.environ.get("AFTERTRAIN_DATA"), help="folder; or AFTERTRAIN_DATA")
    parser.add_argument("--micro", type=int, default=8, help="rows of TRL's micro-batch and of the plain loop's")
    parser.add_argument("--micro-tokens", type=int, default=1024, help="our packing budget")
    parser.add_argument("--steps", type=int, default=3, help="measured steps of each case")
    parser.add_argument("--threads", type=int, default=1)
    add_options(parser, "one measured step of fewer prompts and shorter replies; the rows are the same")
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
        arguments.steps = 1
    print(f"beside trl {version('trl')}, float32, {arguments.threads} thread(s)")
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for part in rows(arguments, Path(folder)):
            show(part, None)
            sys.stdout.flush()
            found += part
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
