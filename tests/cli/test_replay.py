"""`aftertrain replay`: a recorded step comes out bit for bit, or by other settings; what cannot be is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from aftertrain.cli import main

RECIPE = """
name: kept
model: package:aftertrain.plugins.quickstart/model
stages:
  rl:
    use: online
    data: {use: quickstart, split: problems, rows: 12}
    rewards: [{use: gsm8k, extract: strict}]
    reward: {on_unparsable: -2.0}
    verification: {workers: 1}
    advantages: group
    loss: {use: grpo, clip: 0.2}
    kl: {beta: 0.02}
    sampling: {max_new_tokens: 16, temperature: 1.3}
    batch: {prompts: 4, samples_per_prompt: 4, minibatches: 2, updates: 2}
    steps: 3
    checkpoint_every: 50
    optimizer: {lr: 1.0e-3}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    (folder / "recipe.yaml").write_text(RECIPE)
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "runs")]) == 0
    return folder / "runs" / "kept"


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3])
def test_a_recorded_step_comes_out_bit_for_bit(finished: Path, capsys: pytest.CaptureFixture[str], step: int) -> None:
    """Step 3 from the stage's start, through the rollouts of 1 and 2: no checkpoint is kept of a finished stage."""
    assert main(["replay", str(finished), "--step", str(step)]) == 0
    said = capsys.readouterr().out
    assert f"kept:rl, step {step}, from the stage's start" in said
    assert "bit for bit: advantages, old_logprobs, reference_logprobs, rewards" in said
    assert "recorded" not in said.splitlines()[-1] or "figure" not in said  # no figure of the run differs


@pytest.mark.slow
def test_another_method_is_set_beside_it(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["stages.rl.advantages=rloo", "stages.rl.loss.use=reinforce"]
    assert main(["replay", f"{finished}:rl", "--step", "2", *changes]) == 0
    said = capsys.readouterr().out
    assert "by these settings" in said
    assert "clipped tokens" in said
    assert "grad_norm" in said
    cosine = float(said.partition("the cosine ")[2].split()[0])
    assert 0.0 < cosine < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("kl", [0.0, 0.02])
def test_it_tells_who_was_clipped(finished: Path, kl: float) -> None:
    """Two passes of one minibatch: in the first none can be, so that the tokens of the second are all of them.

    The metric is a mean over both passes, which share their tokens. A bound that nothing reaches clips none.
    """
    from aftertrain.api.replay import replay

    passes = ["stages.rl.batch.minibatches=1", f"stages.rl.kl.beta={kl}", "stages.rl.optimizer.lr=3.0e-3"]
    step = replay(str(finished), 2, [*passes, "stages.rl.loss.clip=0.02"]).replayed
    assert step.otherwise is not None
    clipped = sum(reply.clipped_otherwise for reply in step.replies)
    pushed = sum(reply.otherwise not in (None, 0.0) for reply in step.replies)
    assert pushed > 0
    lines = next(finished.glob("stages/rl-*/samples/step-00002.jsonl")).read_text().splitlines()
    tokens = sum(json.loads(line)["tokens"] for line in lines)
    assert clipped == round(2 * step.otherwise["clip_fraction"] * tokens) > 0
    wide = replay(str(finished), 2, [*passes, "stages.rl.loss.clip=0.99"]).replayed
    assert sum(reply.clipped_otherwise for reply in wide.replies) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--step", "9"],
            "step 9 cannot be replayed: from the stage's start, with the rollouts that are kept, steps 1 to 3",
        ),
        (["--step", "2", "stages.rl.sampling.temperature=0.5"], "it decides which replies there were"),
        (["--step", "2", "stages.rl.batch.prompts=3"], "another batch.prompts"),
        (["--step", "2", "stages.rl.advantages=gae", "stages.rl.loss.use=ppo"], "needs a critic"),
        (["--step", "2", "stages.rl.loss.use=gpso"], "Did you mean"),
        (["--step", "2", "loss.use=gspo"], "stages.rl.SETTING=VALUE"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_made_again_is_told(
    finished: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["replay", str(finished), *arguments]) in (1, 2)
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_changed_file_is_found(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "kept"
    shutil.copytree(finished, copy)
    (samples,) = copy.glob("stages/rl-*/samples/step-00002.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    lines[0]["reward"] = 7.0
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["replay", str(copy), "--step", "2"]) == 1
    assert "is not what was written with step-00002.safetensors" in capsys.readouterr().err
    assert main(["replay", str(copy), "--step", "1"]) == 0
