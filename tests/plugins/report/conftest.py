"""A synthetic run folder: the events of a quickstart-like run, written by a small function."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.statistics import paired_difference, wilson

MakeRun = Callable[..., Path]
EVALUATIONS = {
    "base-eval": ("base", 0.31),
    "sft-eval": ("sft", 0.55),
    "dpo-eval": ("dpo", 0.54),
    "rlvr-eval": ("rlvr", 0.79),
}
N = 60


class Diary:
    """Writes events with a clock of its own."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("a", encoding="utf-8")
        self.now, self.attempt = 1_763_800_000.0, 1

    def emit(self, name: str, stage: str = "", step: int | None = None, /, **data: Any) -> None:
        self.now += 0.7
        row = {"name": name, "stage": stage, "step": step, "data": data, "attempt": self.attempt, "time": self.now}
        self.file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self.file.close()


def training(
    diary: Diary, stage: str, use: str, inputs: dict[str, str], steps: int, *, stop: int | None = None
) -> None:
    """One training stage, up to step `stop` without an end when given."""
    rng = random.Random(stage)
    diary.emit(
        "stage_started",
        stage,
        use=use,
        hash=digest(stage),
        why=["first run"],
        resumed_from=0,
        inputs=inputs,
    )
    for step in range(1, (stop or steps) + 1):
        done = step / steps
        timing = {"seconds": 0.55 + rng.random() * 0.05, "tokens_per_second": 9000 + rng.random() * 900}
        values = {
            "loss": 0.4 + 1.9 * math.exp(-5 * done) + rng.gauss(0, 0.03),
            "learning_rate": 2e-3 * min(1.0, 20 * done) * (1 - done),
            "grad_norm": abs(rng.gauss(1, 0.2)),
            "tokens": 5000 + rng.randrange(800),
        }
        if use == "online":
            values |= {"reward": -4 + 12 * done + rng.gauss(0, 0.6), "kl": 0.3 * done + abs(rng.gauss(0, 0.01))}
            values |= {"accuracy": min(1.0, 0.5 + 0.4 * done + rng.gauss(0, 0.03)), "entropy": 0.9 - 0.4 * done}
            values |= {"clip_fraction": abs(rng.gauss(0.05, 0.02)), "acme/oddity": rng.random()}
            timing |= {"generate": 0.9 + rng.random() * 0.1, "verify": 0.06, "update": 0.9 + rng.random() * 0.1}
            timing["seconds"] = timing["generate"] + timing["verify"] + timing["update"]
            diary.emit("verdicts", stage, step, gsm8k={"scored": 250, "unparsable": 5, "timeout": 1, "error": 0})
        if stage == "dpo":
            values |= {"reward_chosen": 2 * done, "reward_rejected": -3 * done, "accuracy": min(1.0, 0.5 + done / 2)}
        if use == "online" and step in (3, 9):
            over = {"cleared": True} if step == 9 else {"advice": "the policy leaves its reference: raise kl.beta"}
            diary.emit("alarm", stage, step, name="kl_blow_up", message=f"told in step {step}", **over)
        if use == "online" and step == 7:
            advice = "take <harder> problems"
            diary.emit("alarm", stage, step, name="constant_groups", message="95 % of the groups", advice=advice)
        diary.emit("progress", stage, step, done=step, total=steps, unit="steps")
        diary.emit("metrics", stage, step, **values, timing=timing)
        if use == "online" and step % 5 == 0:
            verdict = {
                "verifier": "gsm8k",
                "outcome": "scored",
                "value": 1.0,
                "extracted": "12",
                "detail": "last number",
            }
            diary.emit(
                "sample",
                stage,
                step,
                prompt="Ana has 3 boxes of 4 pens. How many pens?",
                response="3 * 4 = 12\n#### 12",
                reward=10.0,
                verdicts=[verdict],
            )
    if stop is None:
        artifact = {"type": "model", "path": stage, "stage": stage, "digest": digest(stage), "details": {}}
        ended = {"states": {"learnt": 3997, "dropped: too_long": 3}, "tokens": {"learnt": 71_234, "cut": 9_001}}
        diary.emit("ledger", stage, row={"owed": 4000, **ended})
        diary.emit("stage_done", stage, artifact=artifact, timing={"seconds": steps * 0.7})


def evaluation(diary: Diary, folder: Path, stage: str, before: str | None, text: str) -> None:
    """One evaluation at two temperatures, its instances, and paired differences against `before`."""
    model = EVALUATIONS[stage][0]
    inputs = {"model": model} | ({f"compare:{before}": before} if before else {})
    diary.emit(
        "stage_started",
        stage,
        use="evaluate",
        hash=digest(stage),
        why=["first run"],
        resumed_from=0,
        inputs=inputs,
    )
    scores, differences, health = [], [], []
    samples = folder / "stages" / f"{stage}-{digest(stage)[:12]}" / "samples"
    samples.mkdir(parents=True)
    with (samples / "instances.jsonl").open("w", encoding="utf-8") as file:
        for temperature in (0.0, 1.0):
            right = correct(stage, temperature)
            for index, good in enumerate(right):
                row = {
                    "id": f"problem-{index}",
                    "task": "problems",
                    "temperature": temperature,
                    "prompt": f"Tom has {index} apples and buys {index + 2} more. How many apples has he now? {text}",
                    "output": f"{index} + {index + 2} = {2 * index + (2 if good else 3)}\n#### {2 * index + 2}\n{text}",
                    "extracted": str(2 * index + (2 if good else 3)),
                    "target": str(2 * index + 2),
                    "outcome": "scored" if index % 9 else "unparsable",
                    "metrics": {"accuracy": float(good), "length": 9.0},
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            found = wilson(sum(right), N)
            same = {"task": "problems", "temperature": temperature, "fingerprint": "f" * 64}
            scores.append(
                {
                    **same,
                    "metric": "accuracy",
                    "mean": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "n": N,
                    "primary": True,
                }
            )
            scores.append({**same, "metric": "length", "mean": 9.0, "low": 8.5, "high": 9.5, "n": N, "primary": False})
            if before:
                paired = paired_difference(list(map(float, correct(before, temperature))), list(map(float, right)))
                differences.append(
                    {
                        **same,
                        "metric": "accuracy",
                        "against": before,
                        "mean": paired.mean,
                        "low": paired.low,
                        "high": paired.high,
                        "n": N,
                        "better": 20,
                        "worse": 3,
                        "p": 0.0004,
                        "p_holm": 0.0008,
                    }
                )
            health.append(
                {"task": "problems", "temperature": temperature, "n": N, "truncated": 2, "empty": 0, "mean_tokens": 9.0}
            )
    diary.emit("scores", stage, 120, scores=scores, differences=differences, health=health)
    diary.emit(
        "stage_done",
        stage,
        artifact={"type": "scores", "path": stage, "stage": stage, "digest": digest(stage)},
        timing={"seconds": 9.5},
    )


def correct(stage: str, temperature: float) -> list[bool]:
    """Which problems a model gets right: the easier a problem, the more models do."""
    hard = random.Random(7)
    noise = random.Random(f"{stage} {temperature}")
    accuracy = EVALUATIONS[stage][1] + (0.03 if temperature == 0 else 0.0)
    return [hard.random() * 0.8 + noise.random() * 0.2 < accuracy for _ in range(N)]


def digest(stage: str) -> str:
    """A hash-like name of a stage."""
    return random.Random(f"digest {stage}").randbytes(32).hex()


def recipe() -> dict[str, Any]:
    """The resolved recipe."""
    problems = {"use": "problems", "data": {"use": "quickstart", "split": "heldout"}, "verifier": {"use": "gsm8k"}}
    optimizer = {"lr": 0.002, "schedule": "linear", "warmup": 0.03, "betas": [0.9, 0.95]}
    stages: dict[str, Any] = {
        "base-eval": {"use": "evaluate", "from": "base", "tasks": [problems], "temperatures": [0.0, 1.0]},
        "sft": {
            "use": "train",
            "from": "base",
            "loss": {"use": "sft", "reduction": "token_mean"},
            "optimizer": optimizer,
        },
        "sft-eval": {"use": "evaluate", "from": "sft", "compare": "base-eval", "tasks": [problems]},
        "dpo": {"use": "train", "from": "sft", "loss": {"use": "dpo", "beta": 5.0}, "optimizer": optimizer},
        "dpo-eval": {"use": "evaluate", "from": "dpo", "compare": "sft-eval", "tasks": [problems]},
        "rm": {"use": "train", "from": "sft", "loss": {"use": "reward_model"}, "optimizer": optimizer},
        "rlvr": {"use": "online", "from": "dpo", "critic": "rm", "loss": {"use": "ppo", "clip": 0.2}},
        "rlvr-eval": {"use": "evaluate", "from": "rlvr", "compare": "dpo-eval", "tasks": [problems]},
    }
    return {
        "name": "quickstart",
        "model": "package:aftertrain.plugins.quickstart/model",
        "seed": 0,
        "threads": 2,
        "description": "A tiny model learns grade-school word problems: SFT, DPO, a reward model, "
        "PPO with verifiable rewards.",
        "chat_template": None,
        "stages": stages,
    }


def write_run(
    folder: Path, *, until: str | None = None, text: str = "", end: str | None = "run_done", **failure: Any
) -> Path:
    """Write a run folder.

    Args:
        until: last stage to write; that stage, if it trains, stops in the middle.
        text: put into every prompt and reply.
        end: name of the last event, None for a killed run; `failure` is its data.
    """
    folder.mkdir(parents=True)
    hardware = {"cpu": "Example CPU @ 2.60GHz", "capability": "AVX2", "cores": 2, "memory": 8 * 1024**3, "gpus": []}
    manifest = {
        "name": "quickstart",
        "source": "quickstart.yaml",
        "recipe": recipe(),
        "seed": 0,
        "threads": 2,
        "order": list(recipe()["stages"]),
        "base": {"path": "model", "digest": digest("base")},
        "python": "3.11.7",
        "packages": {"aftertrain": "0.1.0", "torch": "2.11.0", "transformers": "5.1.0"},
        "plugins": [{"plugin": "losses", "distribution": "aftertrain", "version": "0.1.0", "file": "/home/ann/x.py"}],
        "hardware": hardware,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    diary = Diary(folder / "events.jsonl")
    diary.emit("run_started", name="quickstart", recipe=recipe(), hardware=hardware, versions={}, plugins=[])
    plan: list[tuple[str, Callable[[bool], None]]] = [
        ("base-eval", lambda cut: evaluation(diary, folder, "base-eval", None, text)),
        ("sft", lambda cut: training(diary, "sft", "train", {"model": "base"}, 62, stop=20 if cut else None)),
        ("sft-eval", lambda cut: evaluation(diary, folder, "sft-eval", "base-eval", text)),
        ("dpo", lambda cut: training(diary, "dpo", "train", {"model": "sft"}, 30, stop=9 if cut else None)),
        ("dpo-eval", lambda cut: evaluation(diary, folder, "dpo-eval", "sft-eval", text)),
        ("rm", lambda cut: training(diary, "rm", "train", {"model": "sft"}, 30, stop=9 if cut else None)),
        (
            "rlvr",
            lambda cut: training(
                diary, "rlvr", "online", {"model": "dpo", "critic": "rm"}, 40, stop=13 if cut else None
            ),
        ),
        ("rlvr-eval", lambda cut: evaluation(diary, folder, "rlvr-eval", "dpo-eval", text)),
    ]
    for name, write in plan:
        write(name == until)
        if name == "sft" and until != "sft":
            diary.emit("dropped", "sft", None, too_long=3, examples=["row-17", "row-40", "row-77"])
            diary.emit("warning", "sft", None, message="3 of 4000 rows are longer than max_tokens and were dropped")
        if name == until:
            break
    if end:
        diary.emit(end, **failure)
    diary.close()
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`write_run` into a fresh folder."""

    def make(name: str = "quickstart", **options: Any) -> Path:
        return write_run(tmp_path / name, **options)

    return make


@pytest.fixture(scope="session")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; do not change it."""
    return write_run(tmp_path_factory.mktemp("runs") / "quickstart")
