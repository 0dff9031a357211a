"""Kill a real training process many times and compare what it ends with, bit for bit, to a run that was left alone.

    python benchmarks/resume.py --kills 100

Runs a small recipe of SFT, DPO and PPO stages (the shipped tiny model, problems written here) once without trouble.
Then again and again: SIGKILL at a random moment, or at a random one of the calls that promises rest on (half of those
with a torn file or a torn event), start again, until a run ends; its weights (SHA-256 of every model file), metrics,
samples and other events (clocks aside) must be those of the run left alone. Exit status 1 if any bit differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aftertrain.core.events.lines import read_events

NAME, START = "killed", "start"
STAGES = {
    "sft": """
    use: train
    loss: {use: sft, reduction: token_mean}
    data: {use: jsonl, path: ./sft.jsonl, format: gsm8k}
    optimizer: {lr: 1.0e-3, warmup: 0.1}
    batch: {sequences: 8, max_tokens: 128}
    max_steps: 9
    checkpoint_every: 2""",
    "dpo": """
    use: train
    from: sft
    loss: {use: dpo, beta: 5, normalize: length}
    data: {use: jsonl, path: ./preference.jsonl, format: preference}
    optimizer: {lr: 1.0e-4}
    batch: {sequences: 4, max_tokens: 128}
    max_steps: 7
    checkpoint_every: 2""",
    "ppo": """
    use: online
    from: dpo
    data: {use: jsonl, path: ./sft.jsonl, format: gsm8k, as: problem}
    rewards: [{use: gsm8k}]
    sampling: {max_new_tokens: 12}
    batch: {prompts: 6, updates: 2, minibatches: 2, micro_tokens: 2048}
    steps: 6
    optimizer: {lr: 1.0e-4}
    checkpoint_every: 2""",
}
METHODS = {
    "group": "advantages: group\n    selection: {use: informative, rounds: 3}",
    "group-mean": "advantages: group_mean\n    loss: dr_grpo\n    selection: curriculum",
    "rloo": "advantages: rloo\n    loss: reinforce\n    selection: oversample",
    "reinforce-plus-plus": "advantages: reinforce_plus_plus\n    loss: dapo",
    "baseline": "advantages: reinforce_plus_plus_baseline\n    loss: cispo",
    "pass-at-k": "advantages: {use: pass_at_k, k: 2}\n    loss: gspo",
    "process": "advantages: process\n    reward: {normalize: {}, missing_eos: -1.0}",
    "actor-critic": "advantages: actor_critic",
    "pairs": "advantages: pairs",
    "gae": "advantages: gae",
}
"""Every method of online learning, with selections and losses among them."""
ONLINE = {
    name: f"""
    use: online
    data: {{use: jsonl, path: ./sft.jsonl, format: gsm8k, as: problem}}
    rewards: [gsm8k]
    {text}
    sampling: {{max_new_tokens: 8}}
    batch: {{prompts: 3, samples_per_prompt: 3, micro_tokens: 2048}}
    steps: 4
    optimizer: {{lr: 1.0e-4}}
    checkpoint_every: 2"""
    for name, text in METHODS.items()
}
CURATION = {
    "curate": """
    use: curate
    data: {use: jsonl, path: ./sft.jsonl, format: gsm8k}
    operators:
      - length
      - {use: threshold, fact: length.characters, at_most: {quantile: 0.8}}
      - deduplicate
    shard_rows: 5
    workers: 1""",
    "again": """
    use: curate
    data: {use: stage, from: curate}
    operators: [{use: threshold, fact: length.words, at_least: {quantile: 0.2}}]
    format: parquet
    shard_rows: 7
    workers: 1""",
    "sft": """
    use: train
    loss: sft
    data: {use: stage, from: again}
    optimizer: {lr: 1.0e-3}
    batch: {sequences: 8, max_tokens: 128}
    max_steps: 3
    checkpoint_every: 2""",
}
"""Rows through operators, twice, and into training."""
CHAINS = {"chain": STAGES, "online": ONLINE, "curate": CURATION}


def write_recipe(folder: Path, stages: Mapping[str, str] = STAGES) -> Path:
    """The recipe of these stages and its data."""
    rng = random.Random(0)
    rows, pairs = [], []
    for number in range(40):
        a, b = rng.randrange(10, 50), rng.randrange(10, 50)
        question = f"Ann has {a} apples and buys {b} more. How many apples does Ann have?"
        good, bad = f"{a} + {b} = {a + b}\n#### {a + b}", f"{a} + {b} = {a + b + 1}\n#### {a + b + 1}"
        rows.append({"id": f"r{number}", "question": question, "answer": good})
        pairs.append({"id": f"p{number}", "prompt": question, "chosen": good, "rejected": bad})
    for name, data in (("sft", rows), ("preference", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    head = f"name: {NAME}\nmodel: package:aftertrain.plugins.quickstart/model\nthreads: 1\nstages:\n"
    recipe = folder / "killed.yaml"
    recipe.write_text(head + "".join(f"  {name}:{text}\n" for name, text in stages.items()))
    return recipe


@dataclass
class Outcome:
    """What a finished run leaves, clocks aside."""

    stages: set[str]
    files: dict[str, str]
    events: dict[str, list[str]]

    def differences(self, other: Outcome) -> list[str]:
        """Where two runs differ.

        Raises:
            SystemExit: a stage has another hash, because somebody edits the code while this runs.
        """
        if self.stages != other.stages:
            raise SystemExit(f"the code changed while this ran: {sorted(self.stages ^ other.stages)}")
        names = sorted(self.files | other.files)
        found = [f"file {name}" for name in names if self.files.get(name) != other.files.get(name)]
        for name in sorted(self.events | other.events):
            mine, theirs = self.events.get(name, []), other.events.get(name, [])
            if mine != theirs:
                first = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), "length")
                found.append(f"events {name}: {len(mine)} and {len(theirs)}, first difference at {first}")
        return found


def outcome(run: Path) -> Outcome:
    """Digests of the files of every model, of all samples, rollouts and rows, and all events inside steps."""
    files = {}
    kinds = ("model/*", "samples/[!.]*", "rollouts/[!.]*", "data/**/*")
    for path in sorted(path for kind in kinds for path in run.glob(f"stages/*/{kind}") if path.is_file()):
        files[path.relative_to(run).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    events: dict[str, list[str]] = {}
    for event in read_events(run / "events.jsonl"):
        if event.stage and event.step is not None and event.name not in ("rewind", "checkpoint"):
            data = {key: value for key, value in event.data.items() if key != "timing"}
            events.setdefault(f"{event.stage}/{event.name}", []).append(json.dumps([event.step, data], sort_keys=True))
    return Outcome({path.name for path in run.glob("stages/*")}, files, events)


class Child:
    """The server that forks attempts (see `resume_child.py`)."""

    def __init__(self, scratch: Path) -> None:
        script = Path(__file__).with_name("resume_child.py")
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = {**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def attempt(self, **request: Any) -> dict[str, Any]:
        """One attempt at a run, killed as asked."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the server of attempts ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if not answer["killed"] and answer["status"] != 0:
            raise SystemExit(f"an attempt failed with {answer['status']}:\n{answer['log']}")
        return answer

    def close(self) -> None:
        """End the server."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@dataclass
class Tally:
    """The figures printed at the end. Only kills inside a stage count towards those wanted."""

    kills: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    attempts: int = 0
    differing: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """Kills inside stages."""
        return sum(count for part, count in self.kills.items() if part != START)


@dataclass(frozen=True)
class Whole:
    """The run that was left alone, part by part: how long each took and how many durable calls it made."""

    outcome: Outcome
    seconds: dict[str, float]
    calls: dict[str, int]

    def death(self, rng: random.Random, done: set[str]) -> dict[str, Any]:
        """Where and how the next attempt dies: in a part that is still to come, at a moment or at a durable call.

        Nothing is killed once all is done.
        """
        pending = [name for name in self.seconds if name not in done and name != START]
        if not pending:
            return {}
        part = rng.choices([*pending, START], [4.0 / 2**place for place in range(len(pending))] + [0.3])[0]
        if rng.random() < 0.5:
            return {"part": part, "after": rng.uniform(0, self.seconds[part])}
        return {"part": part, "call": rng.randint(1, self.calls[part]), "torn": rng.random() < 0.5}


def leave_alone(child: Child, recipe: str, out: Path) -> Whole:
    """Run without trouble."""
    began = time.time()
    calls = child.attempt(recipe=recipe, out=str(out))["calls"]
    events = read_events(out / NAME / "events.jsonl")
    marks = {event.stage: event.time for event in events if event.name == "stage_started"}
    ends = {event.stage: event.time for event in events if event.name == "stage_done"}
    seconds = {START: min(marks.values()) - began, **{name: ends[name] - marks[name] for name in marks}}
    return Whole(outcome(out / NAME), seconds, calls)


def done_stages(run: Path) -> set[str]:
    """Stages that are done."""
    return {path.parent.name.rpartition("-")[0] for path in run.glob("stages/*/done.json")}


def main(arguments: list[str] | None = None) -> int:
    """Kill and compare until there are enough kills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="kills wanted inside stages")
    parser.add_argument("--recipe", choices=CHAINS, default="chain", help="SFT, DPO, PPO; all online methods; or rows")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of death")
    parser.add_argument("--quick", action="store_true", help="a dozen kills")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--folder", type=Path, help="where to work, kept afterwards; a temporary folder by default")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.folder or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        tally = kill_many(work, 12 if options.quick else options.kills, options.seed, CHAINS[options.recipe])
    report(tally)
    if options.json:
        options.json.write_text(json.dumps(rows(tally), indent=1) + "\n", encoding="utf-8")
    return 1 if tally.differing or not tally.killed else 0


def kill_many(work: Path, wanted: int, seed: int, stages: Mapping[str, str]) -> Tally:
    """Whole runs with kills, each compared with the one left alone."""
    recipe, rng, tally, child = str(write_recipe(work, stages)), random.Random(seed), Tally(), Child(work)
    whole = leave_alone(child, recipe, work / "whole")
    told = ", ".join(f"{name} {whole.seconds[name]:.1f} s and {whole.calls[name]} calls" for name in whole.seconds)
    sys.stderr.write(f"left alone: {told}\n")
    while tally.killed < wanted:
        out = work / f"run-{tally.runs}"
        while True:
            death = whole.death(rng, done_stages(out / NAME))
            answer = child.attempt(recipe=recipe, out=str(out), **death)
            tally.attempts += 1
            if not answer["killed"]:
                break
            tally.kills[death["part"]] += 1
            tally.calls[answer["at"] or "a random moment"] += 1
        tally.runs += 1
        differences = outcome(out / NAME).differences(whole.outcome)
        tally.differing += [f"run {tally.runs}: {difference}" for difference in differences]
        sys.stderr.write(f"run {tally.runs}: {tally.killed} kills so far, {differences or 'bit-identical'}\n")
        shutil.rmtree(out)
    child.close()
    return tally


def report(tally: Tally) -> None:
    """The figures for people."""
    print(f"{tally.killed} kills inside stages, in {tally.runs} runs ({tally.attempts} attempts)")
    for title, counts in (("killed in", tally.kills), ("killed at", tally.calls)):
        for name, count in counts.most_common():
            print(f"  {title} {name}: {count}")
    for difference in tally.differing:
        print(f"DIFFERS: {difference}")
    print("all bit-identical" if not tally.differing else "not bit-identical")


def rows(tally: Tally) -> list[dict[str, object]]:
    """The figures as benchmark rows (see `table.py`, which a test that loads this file by path cannot import)."""
    figures = {f"kills in {stage}": count for stage, count in sorted(tally.kills.items())}
    figures |= {"kills inside stages": tally.killed, "runs": tally.runs, "differences": len(tally.differing)}
    return [{"name": name, "unit": "", "ours": n, "peer": None, "ratio": None} for name, n in figures.items()]


if __name__ == "__main__":
    started = time.monotonic()
    status = main()
    sys.stderr.write(f"{time.monotonic() - started:.0f} s\n")
    raise SystemExit(status)
