"""GRPO with its KL in the loss (F28) against TRL's own loss on the same random scores: values and gradients.

TRL's `use_bias_correction_kl` weighs the estimate k3 by π/π_old, which is `score_function` here. Its trainer is a
stand-in with the few attributes that the loss reads, so that what is compared is the arithmetic alone.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from aftertrain.core.batch import TokenScores
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.plugins.losses.grpo import GRPO
from aftertrain.plugins.losses.policy_settings import GRPOSettings
from aftertrain.plugins.online.penalty import penalised
from aftertrain.plugins.online.policy_settings import KLSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed: pip install trl"),
    pytest.mark.filterwarnings("ignore"),
]

LENGTHS = (3, 7, 1, 5)
WIDTH = max(LENGTHS)


def drawn() -> dict[str, torch.Tensor]:
    """Log-probabilities `[4, 7]` of policy, sampler and reference, advantages `[4]`, and the mask of real tokens."""
    draw = torch.Generator().manual_seed(0)
    policy = -torch.rand(len(LENGTHS), WIDTH, generator=draw) * 3 - 0.01
    near = {name: policy + 0.3 * torch.randn(policy.shape, generator=draw) for name in ("old", "reference")}
    mask = torch.arange(WIDTH) < torch.tensor(LENGTHS).unsqueeze(1)
    return {"policy": policy, **near, "advantages": torch.randn(len(LENGTHS), generator=draw), "mask": mask}


def theirs(values: dict[str, torch.Tensor], beta: float, loss_type: str, correct: bool) -> tuple[float, torch.Tensor]:
    from trl.trainer.grpo_trainer import GRPOTrainer

    policy = values["policy"].clone().requires_grad_()
    stand_in: Any = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (policy, torch.zeros_like(policy), None),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        beta=beta,
        loss_type=loss_type,
        epsilon_low=0.2,
        epsilon_high=0.2,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        model=SimpleNamespace(training=False),
        args=SimpleNamespace(use_bias_correction_kl=correct, delta=None),
        accelerator=SimpleNamespace(reduce=lambda x, reduction: x, gather=lambda x: x),
        _metrics=defaultdict(lambda: defaultdict(list)),
    )
    ids = torch.zeros(values["mask"].shape, dtype=torch.int64)
    inputs = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": torch.ones_like(ids[:, :1]),
        "completion_ids": ids,
        "completion_mask": values["mask"].long(),
        "advantages": values["advantages"],
        "old_per_token_logps": values["old"],
        "ref_per_token_logps": values["reference"],
    }
    loss = GRPOTrainer._compute_loss(stand_in, None, inputs)
    (gradient,) = torch.autograd.grad(loss, policy)
    return float(loss), gradient


def ours(values: dict[str, torch.Tensor], beta: float, reduction: str, correct: bool) -> tuple[float, torch.Tensor]:
    def row(name: str, number: int) -> list[float]:
        return [0.0, *values[name][number, : LENGTHS[number]].tolist()]

    batch = collate(
        [
            Segment(
                str(number),
                [5] * (length + 1),
                [False] + [True] * length,
                columns={
                    "old_logprobs": row("old", number),
                    "reference_logprobs": row("reference", number),
                    "advantages": [0.0] + [float(values["advantages"][number])] * length,
                },
            )
            for number, length in enumerate(LENGTHS)
        ]
    )
    settings = KLSettings(beta=beta, place="loss", estimator="k3", score_function=correct)
    loss: Any = penalised(GRPO(GRPOSettings.model_validate({"reduction": reduction}), None), settings)  # type: ignore[arg-type]
    policy = values["policy"].clone().requires_grad_()
    flat = torch.cat([torch.cat([torch.zeros(1), policy[n, :length]]) for n, length in enumerate(LENGTHS)])
    total = loss(batch, TokenScores(logprobs=flat)).terms["policy"] / batch.count(loss.needs.per["policy"])
    (gradient,) = torch.autograd.grad(total, policy)
    return float(total.detach()), gradient


@pytest.mark.parametrize(("loss_type", "reduction"), [("bnpo", "token_mean"), ("grpo", "sequence_mean")])
@pytest.mark.parametrize("correct", [True, False])
def test_loss_and_gradient_are_trl_s_and_smooth_in_beta(loss_type: str, reduction: str, correct: bool) -> None:
    """And the gradient is g₀ + β·g₁, so that no β is stronger than it says."""
    values = drawn()
    gradients = {}
    for beta in (0.0, 1e-6, 1e-3, 0.05, 1.0):
        expected, slope = theirs(values, beta, loss_type, correct)
        found, gradients[beta] = ours(values, beta, reduction, correct)
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
        torch.testing.assert_close(gradients[beta], slope, atol=1e-6, rtol=1e-5)
    whole = gradients[1.0] - gradients[0.0]
    for beta, gradient in gradients.items():
        torch.testing.assert_close(gradient, gradients[0.0] + beta * whole, atol=1e-6, rtol=1e-4)
