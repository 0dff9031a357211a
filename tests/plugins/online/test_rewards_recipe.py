"""Rewards as a user writes them in a recipe: combined, shaped, weighed by task, of TRL's form, and when they fail."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main

FUNCTIONS = """
import os
import numpy


def length(completions, solution, **columns):
    assert all(isinstance(truth, str) for truth in solution)
    return [len(completion[0]["content"]) / 100 for completion in completions]

def tokens(completion_ids, **columns):
    return numpy.array([-len(ids) for ids in completion_ids], dtype=numpy.float32)

async def for_some(prompts, completions, **columns):
    return [None if place % 2 else 1.0 for place, _ in enumerate(completions)]

def raises(completions, **columns):
    raise ValueError("no judge is there")

def no_number(completions, **columns):
    return [float("nan")] * len(completions)

def one_too_few(completions, **columns):
    return [1.0] * (len(completions) - 1)

def grows(completions, **columns):
    calls.append(0)
    return [1e308 if len(calls) > int(os.environ.get("GOOD_CALLS", "100")) else 1.0 for _ in completions]

calls = []
"""
DELAYED = '''
import os, random, time
from aftertrain.core.records import Verdict
from aftertrain.core.settings import Settings
from aftertrain.core.verifier import Verifier


class Delayed(Verifier[Settings]):
    """1 where the reply holds an e, said after a while that the environment's seed draws for each reply."""

    Config = Settings

    def verify(self, cases):
        for case in cases:
            time.sleep(random.Random(f"{os.environ['DELAYS']} {case.id}").choice([0.0, 0.004, 0.02]))
        return [Verdict.scored(float("e" in case.response)) for case in cases]
'''
RECIPE = """
name: rewards
model: {model}
threads: 1
stages:
  rlvr:
    use: online
    advantages: group
    data: {{use: jsonl, path: problems.jsonl, format: rlvr}}
    rewards: {rewards}
    checks: {checks}
    reward: {reward}
    unjudgeable: keep
    kl: {{beta: 0.0}}
    sampling: {{max_new_tokens: 12}}
    batch: {{prompts: 4, samples_per_prompt: 4, updates: 1}}
    steps: {steps}
    checkpoint_every: 1
    optimizer: {{lr: 1.0e-3}}
"""
Run = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the recipe with rewards as YAML in its own folder, and gives the folder of its stage."""
    (tmp_path / "functions.py").write_text(FUNCTIONS, encoding="utf-8")
    (tmp_path / "delayed.py").write_text(DELAYED, encoding="utf-8")
    rows = []
    for number in range(8):
        messages = [{"role": "user", "content": f"What is {number} + 1?"}]
        name = "gsm8k" if number % 2 else "math"
        rows.append({"id": f"p{number}", "messages": messages, "ground_truth": str(number + 1), "dataset": name})
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def start(
        rewards: str, reward: str = "{}", *overrides: str, steps: int = 1, status: int = 0, checks: str = "{}"
    ) -> Path:
        recipe = RECIPE.format(model=tiny_model, rewards=rewards, checks=checks, reward=reward, steps=steps)
        (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
        assert main(["run", "recipe.yaml", *overrides]) == status
        name = next((given.partition("=")[2] for given in overrides if given.startswith("name=")), "rewards")
        folders = [*(tmp_path / "runs" / name / "stages").glob("rlvr-*")]
        return folders[0] if folders else tmp_path

    return start


def functions(*names: str) -> str:
    return f"[{', '.join(f'{{use: trl_reward, function: ./functions.py:{name}}}' for name in names)}]"


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = (folder.parents[1] / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event["data"] for event in map(json.loads, lines) if event["name"] == name]


def samples(folder: Path, step: int = 1) -> list[dict[str, Any]]:
    lines = (folder / "samples" / f"step-{step:05d}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_trl_functions_are_rewards_as_they_are(run: Run) -> None:
    """Named by themselves, for every problem; summed by weight; shaping and a length penalty beside. F26."""
    rewards = (
        "[{use: trl_reward, function: './functions.py:length'}, {use: trl_reward, function: './functions.py:for_some'}]"
    )
    reward = (
        "{combine: weighted_sum, weights: {length: 2.0}, overlong: {cache: 8}, shaping: "
        "{short: {verifier: {use: trl_reward, function: './functions.py:tokens'}, weight: 0.5}}}"
    )
    folder = run(rewards, reward)
    for place, sample in enumerate(samples(folder)):
        length = len(sample["response"]) / 100
        own = {} if place % 2 else {"for_some": 1.0}
        told = {verdict["verifier"]: verdict.get("reward") for verdict in sample["verdicts"]}
        assert {name: worth for name, worth in told.items() if worth is not None} == {"length": length} | own
        parts = sample["parts"]
        assert parts["verification"] == 2.0 * length + own.get("for_some", 0.0)
        assert parts["short"] == -0.5 * sample["tokens"]
        assert parts["overlong"] == min(0.0, (4 - sample["tokens"]) / 8)
        assert sample["reward"] == pytest.approx(sum(parts.values()))
    (metrics,), (counts,) = events(folder, "metrics"), events(folder, "verdicts")
    assert metrics["reward/short"] == pytest.approx(-0.5 * metrics["response_length"])
    assert metrics["reward/for_some"] == 1.0
    assert counts == {"length": {"scored": 16}, "for_some": {"scored": 8, "abstained": 8}, "short": {"scored": 16}}


@pytest.mark.slow
def test_a_failing_function_costs_its_own_part_and_is_told(run: Run) -> None:
    """One that raises, one that gives NaN, one that gives too few: errors that are counted and warned of by name."""
    names = ["length", "raises", "no_number", "one_too_few"]
    folder = run(functions(*names), "{combine: weighted_sum, on_error: -0.25}")
    (counts,) = events(folder, "verdicts")
    assert counts == {"length": {"scored": 16}} | {name: {"error": 16} for name in names[1:]}
    for sample in samples(folder):
        assert sample["reward"] == pytest.approx(len(sample["response"]) / 100 - 0.75)
    warned = [warning["message"] for warning in events(folder, "warning")]
    for part in ("'raises': error on 16 of 16", "ValueError: no judge is there (functions.py:", "it returned nan"):
        assert any(part in message for message in warned), warned
    assert any("it returned 0 rewards for 1 completions" in message for message in warned)


@pytest.mark.slow
def test_a_reward_beyond_all_numbers_stops_and_the_last_good_checkpoint_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rewards, reward = functions("grows"), "{combine: weighted_sum, weights: {grows: 10}}"
    monkeypatch.setenv("GOOD_CALLS", "2")
    folder = run(rewards, reward, steps=3, status=1)
    (step,) = re.findall(r"error: step (\d): rewards are not finite; samples: p", capfd.readouterr().err)
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())][-1].endswith(str(int(step) - 1))
    monkeypatch.delenv("GOOD_CALLS")
    assert run(rewards, reward, steps=3) == folder
    assert [len(samples(folder, step)) for step in (1, 2, 3)] == [16] * 3
    assert (folder / "model" / "model.safetensors").is_file()


@pytest.mark.slow
def test_what_verifiers_take_their_time_over_changes_no_bit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shuffles of delays, in two processes that judge: the same replies, rewards, rates and weights."""
    reward = "{task_weights: {alpha: 1.0}, normalize: {}, missing_eos: -1.0}"
    outcomes = []
    for seed in ("1", "2"):
        monkeypatch.setenv("DELAYS", seed)
        folder = run(
            "[{use: './delayed.py:Delayed'}]", reward, f"name=run{seed}", "stages.rlvr.verification.workers=2", steps=3,
            checks="{gsm8k: './delayed.py:Delayed', math: './delayed.py:Delayed'}",
        )  # fmt: skip
        files = [folder / "model" / "model.safetensors", *sorted((folder / "samples").iterdir())]
        metrics = [{k: v for k, v in step.items() if k != "timing"} for step in events(folder, "metrics")]
        outcomes.append(([path.read_bytes() for path in files], metrics))
    assert outcomes[0] == outcomes[1]
    assert len({step["reward"] for step in outcomes[0][1]}) > 1


@pytest.mark.slow
def test_a_step_with_weighed_tasks_is_replayed_bit_for_bit(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Step 3 from the stage's start, with weights from the recorded steps before it, by check and the critic's loss."""
    reward = "{task_weights: {alpha: 3.0, by: check, loss: value}, combine: weighted_sum, on_unparsable: -1.0}"
    folder = run("[{use: gsm8k}, {use: math}]", reward, "stages.rlvr.advantages=gae", steps=3)
    last = events(folder, "metrics")[-1]
    assert last["task_weight/gsm8k"] != last["task_weight/math"]
    capsys.readouterr()
    assert main(["replay", "runs/rewards", "--step", "3"]) == 0
    assert "bit for bit: advantages, " in capsys.readouterr().out
    assert main(["replay", "runs/rewards", "--step", "3", "stages.rlvr.batch.updates=1"]) == 0
