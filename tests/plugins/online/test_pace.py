"""A step's rates and progress online: the functions of core.learning.schedule that `train` goes by too (F12, F22)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.learning.schedule import Optimizer, Pace
from aftertrain.core.loss import LossOutput, Ratio
from aftertrain.plugins.losses.grpo import GRPO
from aftertrain.plugins.losses.policy_settings import GRPOSettings

Make = Callable[..., Any]


class Progress(GRPO):
    """GRPO that tells the progress it was given."""

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        output = super().__call__(batch, scores)
        return LossOutput(output.terms, {**output.metrics, "progress": Ratio(batch.progress, 1.0)})


def test_the_adaptive_rate_knows_the_short_step_of_policy_and_critic(bench: Make) -> None:
    """Twelve problems by five: the third step has two, so that both rates are √(5/2) of those of full steps (F12)."""
    run = bench(
        changes={
            "batch": {"updates": 1, "minibatches": 1},
            "optimizer": {"lr": 1e-3, "schedule": "adaptive"},
            "critic_optimizer": {"lr": 4e-3, "schedule": "adaptive"},
            "steps": 4,
        }
    )
    run.run()
    expected = [1.0, 1.0, 2.5**0.5, 1.0]
    metrics = run.of("metrics")
    assert [one["learning_rate"] for one in metrics] == pytest.approx([1e-3 * height for height in expected])
    assert [one["critic_learning_rate"] for one in metrics] == pytest.approx([4e-3 * height for height in expected])


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        # 5 prompts × 2 in halves of 2 and 3 prompts, the last one shown: 6 of 5 replies on average.
        ({"updates": 1, "minibatches": 2}, [(5 / 6) ** 0.5, (5 / 6) ** 0.5, 2.5**0.5]),
        ({"updates": 3, "minibatches": 1, "micro_tokens": 64}, [1.0, 1.0, 2.5**0.5]),
        ({"updates": 1, "minibatches": 5, "samples_per_prompt": 4}, [1.0, 1.0, 1.0]),
        ({"updates": 1, "minibatches": 1, "prompts": 24}, [2.0**0.5] * 3),
    ],
    ids=["minibatches", "updates and micro-batches", "a prompt each", "more than there are"],
)
def test_the_adaptive_rate_goes_by_the_replies_of_an_update(bench: Make, batch: dict[str, Any], expected: Any) -> None:
    run = bench(
        changes={
            "advantages": "group",
            "loss": {"use": "grpo"},
            "kl": {"beta": 0.0},
            "batch": batch,
            "optimizer": {"lr": 1.0e-3, "schedule": "adaptive"},
            "steps": 3,
        }
    )
    run.run()
    assert [one["learning_rate"] for one in run.of("metrics")] == pytest.approx([1e-3 * height for height in expected])


def test_a_linear_rate_is_the_one_of_train(bench: Make) -> None:
    """Four steps of two updates are eight optimizer steps; the last of step t has 1 − (2t − 1)/8 of the peak."""
    run = bench(changes={"batch": {"updates": 2, "minibatches": 1}, "optimizer": {"lr": 8e-4, "schedule": "linear"}})
    run.run()
    assert [one["learning_rate"] for one in run.of("metrics")] == pytest.approx([7e-4, 5e-4, 3e-4, 1e-4])


def test_a_loss_is_told_how_far_the_stage_is(bench: Make) -> None:
    """Two steps of 2 × 2 updates: progress is t/8; a step's metric is the mean over its four."""
    changes = {"advantages": "group", "kl": {"beta": 0.1, "place": "loss"}, "steps": 2}
    run = bench(changes=changes)
    run.builder.table["loss", "progress"] = (Progress, GRPOSettings)
    run.stage.settings = run.stage.settings.model_copy(
        update={"loss": run.builder.resolve("loss", {"use": "progress"})}
    )
    run.run()
    assert [one["progress"] for one in run.of("metrics")] == pytest.approx([2.5 / 8, 6.5 / 8])


def test_pace_by_hand() -> None:
    """Step 3 of 4 with a quarter of the sequences: linear falls to ½, adaptive doubles, constant stays."""
    pace = Pace(2, 4, batch_share=0.25)
    optimizers = {name: Optimizer(lr=1.0, schedule=name) for name in ("linear", "adaptive", "constant")}  # type: ignore[arg-type]
    assert pace.rates(optimizers) == {"linear": 0.5, "adaptive": 2.0, "constant": 1.0}
    assert pace.progress == 0.75
    assert Pace(0, 1).progress == 1.0
