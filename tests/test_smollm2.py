"""The recipe `smollm2-gsm8k` on the real model and real rows: a few steps of every stage, in a process of its own."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aftertrain.core.events import Entry
from aftertrain.core.events.lines import read_events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EVALUATIONS = ("base-eval", "sft-eval", "rlvr-eval")


def _overrides(model: str, data: Path) -> Iterator[str]:
    train, test = data / "gsm8k/train.jsonl.gz", data / "gsm8k/test.jsonl"
    pairs = data / "tulu3_samples/preference_sample.jsonl"
    yield f"model={model}"
    yield "threads=1"  # beside other tests, two threads wait for each other more than they compute
    for stage in EVALUATIONS:
        yield f"stages.{stage}.tasks.0.data={{use: jsonl, path: {test}, format: gsm8k, as: problem}}"
        yield f"stages.{stage}.tasks.0.max_new_tokens=16"
        yield f"stages.{stage}.limit=2"
        yield f"stages.{stage}.temperatures=[0.0]"
    yield f"stages.sft.data={{use: jsonl, path: {train}, format: gsm8k, limit: 8}}"
    yield "stages.sft.batch={sequences: 4, max_tokens: 256, micro_tokens: 512}"
    yield "stages.sft.epochs=2"
    for stage in ("dpo", "rm"):
        yield f"stages.{stage}.data={{use: jsonl, path: {pairs}, format: preference, limit: 40}}"
        yield f"stages.{stage}.batch={{sequences: 2, max_tokens: 256, micro_tokens: 512}}"
        yield f"stages.{stage}.max_steps=2"
    yield f"stages.rlvr.data={{use: jsonl, path: {train}, format: gsm8k, as: problem, limit: 4}}"
    yield "stages.rlvr.batch={prompts: 2, samples_per_prompt: 2, updates: 2, minibatches: 1, micro_tokens: 512}"
    yield "stages.rlvr.sampling.max_new_tokens=16"
    yield "stages.rlvr.steps=2"


@pytest.fixture(scope="module")
def events(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    """Events of one run of the shortened recipe."""
    model = os.environ.get("AFTERTRAIN_SMOLLM2")
    if not model:
        pytest.skip("AFTERTRAIN_SMOLLM2 is not set: it names a Hugging Face folder of SmolLM2-135M")
    out = tmp_path_factory.mktemp("runs")
    program = Path(sys.executable).with_name("aftertrain")
    command = [program, "run", "smollm2-gsm8k", "--out", out, *_overrides(model, shared_data)]
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return read_events(out / "smollm2-gsm8k" / "events.jsonl")


def _metrics(events: list[Entry], stage: str, name: str) -> list[float]:
    return [event.data[name] for event in events if event.name == "metrics" and event.stage == stage]


def test_every_stage_ends(events: list[Entry]) -> None:
    done = [event.stage for event in events if event.name == "stage_done"]
    assert sorted(done) == sorted([*EVALUATIONS, "sft", "dpo", "rm", "rlvr"])
    assert events[-1].name == "run_done"


@pytest.mark.parametrize(("stage", "steps"), [("sft", 4), ("dpo", 2), ("rm", 2), ("rlvr", 2)])
def test_every_figure_is_finite(events: list[Entry], stage: str, steps: int) -> None:
    rows = [event.data for event in events if event.name == "metrics" and event.stage == stage]
    assert len(rows) == steps
    losses = [value for row in rows for name, value in row.items() if "loss" in name]
    assert len(losses) >= steps
    figures = [value for row in rows for value in row.values() if isinstance(value, int | float)]
    assert all(map(math.isfinite, figures))


def test_sft_loss_falls(events: list[Entry]) -> None:
    """Two passes over the same 8 rows: the second is below the first."""
    losses = _metrics(events, "sft", "loss")
    assert sum(losses[-2:]) < sum(losses[:2])


def test_dpo_starts_from_its_reference(events: list[Entry]) -> None:
    """At the first step policy and reference are one model: the margin is 0 and the loss log 2 (F15, F16)."""
    assert _metrics(events, "dpo", "loss")[0] == pytest.approx(math.log(2), abs=1e-5)


def test_generator_agrees_with_trainer(events: list[Entry]) -> None:
    """Log-probabilities of the sampled tokens, float32, with fresh weights in the generator at every step."""
    differences = _metrics(events, "rlvr", "logprob_difference")
    assert len(differences) == 2
    assert max(differences) < 1e-4
