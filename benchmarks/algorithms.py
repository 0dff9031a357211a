"""Online algorithms side by side on the quickstart's model: gain over DPO on held-out problems, on several seeds.

    python benchmarks/algorithms.py [--seeds 0 1 2] [--only ppo grpo] [--steps 12] [--quick] [--json FILE]
                                    [--picture FILE] [--runs DIR]

The quickstart's chain up to DPO and its reward model is run once, at seed 0. From its weights each algorithm learns in
one online stage a seed, which decides the order of the problems and all replies, 128 and four optimizer steps in
each step. Its replies to 600 held-out problems at temperature 1 are then compared with DPO's. What is not said here is
what the algorithm's own defaults say (`aftertrain show NAME`). There is no peer to compare with.

What stands in --runs is not done again: a stopped benchmark goes on, and a picture is drawn anew without training.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from forest_plot import Group, Interval, draw
from table import Row, add_options, show

import aftertrain
from aftertrain.core.events import Scores
from aftertrain.core.events.lines import read_events

GROUPS = {"prompts": 16, "samples_per_prompt": 8}
CLIPPED = {"updates": 2, "minibatches": 2}
PLAIN = {"updates": 1, "minibatches": 4}
NO_LEASH = {"beta": 0.0}

ALGORITHMS: dict[str, dict[str, Any]] = {
    "PPO": {"advantages": "gae", "loss": "ppo", "critic": "rm", "batch": {"prompts": 128, **CLIPPED}},
    "actor-critic": {"advantages": "actor_critic", "critic": "rm", "batch": {"prompts": 128, **PLAIN}},
    "GRPO": {"advantages": "group", "loss": "grpo", "batch": GROUPS | CLIPPED},
    "Dr. GRPO": {
        "advantages": "group_mean",
        "loss": {"use": "dr_grpo", "length": 32},
        "kl": NO_LEASH,
        "batch": GROUPS | CLIPPED,
    },
    "DAPO": {"advantages": "group", "loss": "dapo", "kl": NO_LEASH, "batch": GROUPS | CLIPPED},
    "GSPO": {"advantages": "group", "loss": "gspo", "kl": NO_LEASH, "batch": GROUPS | CLIPPED},
    "CISPO": {"advantages": "group", "loss": "cispo", "kl": NO_LEASH, "batch": GROUPS | CLIPPED},
    "RLOO": {"advantages": "rloo", "batch": GROUPS | PLAIN},
    "online DPO": {"advantages": "pairs", "batch": {"prompts": 64, "samples_per_prompt": 2, **CLIPPED}},
}
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
"""Student's t at 97.5 % for that many seeds."""


def slug(name: str) -> str:
    """A stage's name.

    >>> slug("Dr. GRPO")
    'dr-grpo'
    """
    return name.lower().replace(".", "").replace(" ", "-")


def recipe(chosen: Mapping[str, Mapping[str, Any]], seeds: Sequence[int], steps: int) -> dict[str, Any]:
    """The quickstart's chain with these algorithms, a stage a seed, in place of its own online stage."""
    whole = yaml.safe_load((Path(aftertrain.__file__).parent / "configs" / "quickstart.yaml").read_text("utf-8"))
    stages = whole["stages"]
    values = any("critic" in own for own in chosen.values())
    kept = {name: stages[name] for name in ("sft", "dpo", "rm") if name != "rm" or values}
    scored = {"tasks": stages["dpo-eval"]["tasks"], "temperatures": [1.0]}
    kept["dpo-eval"] = {"use": "evaluate", "from": "dpo", **scored}
    shared = {key: stages["rlvr"][key] for key in ("data", "rewards", "reward", "sampling", "generator", "optimizer")}
    for seed in seeds:
        for name, own in chosen.items():
            stage = f"{slug(name)}-{seed}"
            kept[stage] = {"use": "online", "from": "dpo", **shared, "steps": steps, "seed": seed, **own}
            kept[f"{stage}-eval"] = {"use": "evaluate", "from": stage, "compare": "dpo-eval", **scored}
    return {**{key: whole[key] for key in ("model", "threads")}, "name": "algorithms", "seed": 0, "stages": kept}


def run(
    chosen: Mapping[str, Mapping[str, Any]], seeds: Sequence[int], steps: int, folder: Path
) -> dict[str, list[Interval]]:
    """Gains in points by algorithm, one a seed, with 95 % intervals of a paired bootstrap over the problems."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(chosen, seeds, steps), sort_keys=False), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("aftertrain")), "run", str(path), "--out", str(folder)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    gains: dict[str, Interval] = {}
    for entry in read_events(folder / "algorithms" / "events.jsonl"):
        if isinstance(entry.event, Scores) and entry.event.differences:
            (row,) = [row for row in entry.event.differences if row.metric == "exact_match"]
            gains[entry.stage] = Interval(100 * row.mean, 100 * row.low, 100 * row.high)
    return {name: [gains[f"{slug(name)}-{seed}-eval"] for seed in seeds] for name in chosen}


def mean_of(gains: Sequence[Interval]) -> Interval:
    """The mean over seeds with its 95 % interval by Student's t: how training varies, as far as few seeds tell."""
    n, mean = len(gains), sum(gain.mean for gain in gains) / len(gains)
    if n == 1:
        return gains[0]
    spread = math.sqrt(sum((gain.mean - mean) ** 2 for gain in gains) / (n - 1))
    half = T_95[n] * spread / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def table(found: Mapping[str, Sequence[Interval]]) -> str:
    """A Markdown table of gains in points."""
    lines = ["| algorithm | mean gain | seeds |", "|---|---|---|"]
    for name, gains in found.items():
        mean = mean_of(gains)
        seeds = "; ".join(f"{gain.mean:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]" for gain in gains)
        lines.append(f"| {name} | {mean.mean:+.1f} [{mean.low:+.1f}, {mean.high:+.1f}] | {seeds} |")
    return "\n".join(lines)


def main() -> None:
    """Run, print, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=[slug(name) for name in ALGORITHMS], metavar="NAME")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the gains there, as an SVG")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="keep the run there, and go on with it")
    add_options(parser, "one seed, two steps of two algorithms")
    arguments = parser.parse_args()
    chosen = {name: own for name, own in ALGORITHMS.items() if slug(name) in (arguments.only or slug(name))}
    seeds, steps = arguments.seeds, arguments.steps
    if arguments.quick:
        chosen, seeds, steps = {name: ALGORITHMS[name] for name in ("GRPO", "RLOO")}, seeds[:1], 2
    with tempfile.TemporaryDirectory() as scratch:
        found = run(chosen, seeds, steps, arguments.runs or Path(scratch))
    sys.stdout.write(table(found) + "\n\n")
    if arguments.picture is not None:
        title = f"Gain over DPO in points, {steps} steps of 128 replies, 600 held-out problems, {len(seeds)} seeds"
        groups = [Group(name, mean_of(gains), gains) for name, gains in found.items()]
        arguments.picture.write_text(draw(title, groups), encoding="utf-8")
    rows = [Row(f"{name}: gain", "points", mean_of(gains).mean) for name, gains in found.items()]
    show(rows, arguments.json)


if __name__ == "__main__":
    main()
