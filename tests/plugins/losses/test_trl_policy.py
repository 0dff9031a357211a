"""Losses of sampled replies against TRL's own `GRPOTrainer._compute_loss` on the same random scores.

Values and gradients of each `loss_type` that is ours too. TRL's trainer is a stand-in with the few attributes that the
loss reads, so that what is compared is the arithmetic alone.
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
from aftertrain.plugins.losses.cispo import CISPO
from aftertrain.plugins.losses.dapo import DAPO
from aftertrain.plugins.losses.dr_grpo import DrGRPO
from aftertrain.plugins.losses.grpo import GRPO
from aftertrain.plugins.losses.gspo import GSPO
from aftertrain.plugins.online.penalty import penalised
from aftertrain.plugins.online.settings import KLSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed: pip install trl"),
    pytest.mark.filterwarnings("ignore"),
]

LENGTHS = (3, 7, 1, 5)
WIDTH = max(LENGTHS)

CASES: list[tuple[str, Any, dict[str, Any], dict[str, Any]]] = [
    ("grpo", GRPO, {"reduction": "sequence_mean"}, {}),
    ("bnpo", GRPO, {"clip_high": 0.28}, {"epsilon_high": 0.28}),
    ("dr_grpo", DrGRPO, {"length": 11}, {"max_completion_length": 11}),
    ("dapo", DAPO, {}, {"epsilon_high": 0.28}),
    ("cispo", CISPO, {"clip_high": 0.1}, {"epsilon_high": 1.1}),
    ("cispo", CISPO, {}, {"epsilon_high": 5.0}),
    ("grpo", GSPO, {"clip": 0.05, "clip_high": 0.03}, {"epsilon_low": 0.05, "epsilon_high": 0.03, "level": "sequence"}),
    ("grpo", GSPO, {}, {"epsilon_low": 3e-4, "epsilon_high": 4e-4, "level": "sequence"}),
]


def drawn(seed: int, spread: float) -> dict[str, torch.Tensor]:
    """Log-probabilities `[4, 7]` of policy, sampler and reference, advantages `[4]`, and the mask of real tokens."""
    draw = torch.Generator().manual_seed(seed)
    policy = -torch.rand(len(LENGTHS), WIDTH, generator=draw) * 3 - 0.01
    old = policy + spread * torch.randn(policy.shape, generator=draw)
    reference = policy + 0.3 * torch.randn(policy.shape, generator=draw)
    mask = torch.arange(WIDTH) < torch.tensor(LENGTHS).unsqueeze(1)
    advantages = torch.randn(len(LENGTHS), generator=draw)
    return {"policy": policy, "old": old, "reference": reference, "advantages": advantages, "mask": mask}


def theirs(values: dict[str, torch.Tensor], loss_type: str, beta: float, options: dict[str, Any]) -> Any:
    from trl.trainer.grpo_trainer import GRPOTrainer

    policy = values["policy"].clone().requires_grad_()
    options = {"epsilon_low": 0.2, "epsilon_high": 0.2, "level": "token", "max_completion_length": 0, **options}
    stand_in: Any = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (policy, torch.zeros_like(policy), None),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level=options.pop("level"),
        beta=beta,
        loss_type=loss_type,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        model=SimpleNamespace(training=False),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None),
        accelerator=SimpleNamespace(num_processes=1, reduce=lambda x, reduction: x, gather=lambda x: x),
        _metrics=defaultdict(lambda: defaultdict(list)),
        **options,
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
        "num_items_in_batch": values["mask"].sum(),
    }
    loss = GRPOTrainer._compute_loss(stand_in, None, inputs)
    (gradient,) = torch.autograd.grad(loss, policy)
    return float(loss), gradient, {name: found[-1] for name, found in stand_in._metrics["eval"].items()}


def ours(values: dict[str, torch.Tensor], kind: Any, beta: float, settings: dict[str, Any]) -> Any:
    columns = {"old": "old_logprobs", "reference": "reference_logprobs"}
    segments = []
    for number, length in enumerate(LENGTHS):
        given = {name: [0.0, *values[key][number, :length].tolist()] for key, name in columns.items()}
        given["advantages"] = [0.0] + [float(values["advantages"][number])] * length
        segments.append(Segment(str(number), [5] * (length + 1), [False] + [True] * length, columns=given))
    batch = collate(segments)
    kl = KLSettings(beta=beta, place="loss", estimator="k3", score_function=False)
    loss: Any = penalised(kind(kind.Config(**settings), None), kl)
    policy = values["policy"].clone().requires_grad_()
    flat = torch.cat([torch.cat([torch.zeros(1), policy[n, :length]]) for n, length in enumerate(LENGTHS)])
    output = loss(batch, TokenScores(logprobs=flat))
    total = output.terms["policy"] / batch.count(loss.needs.per["policy"])
    (gradient,) = torch.autograd.grad(total, policy)
    return float(total.detach()), gradient, {n: float(r.sum) / float(r.count) for n, r in output.metrics.items()}


@pytest.mark.parametrize(("loss_type", "kind", "settings", "options"), CASES)
@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("spread", [0.0, 0.001, 0.3], ids=["first pass", "near", "far"])
def test_value_and_gradient_are_trl_s(
    loss_type: str, kind: Any, settings: dict[str, Any], options: dict[str, Any], beta: float, spread: float
) -> None:
    """Also with the KL of the reference in the loss, which TRL weighs as its loss type weighs tokens."""
    for seed in range(3):
        values = drawn(seed, spread)
        expected, slope, figures = theirs(values, loss_type, beta, options)
        found, gradient, metrics = ours(values, kind, beta, settings)
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
        torch.testing.assert_close(gradient, slope, atol=1e-6, rtol=1e-5)
        if "level" not in options and loss_type != "cispo":  # TRL counts replies in the one, A > 0 alone in the other
            assert metrics["clip_fraction"] == pytest.approx(figures["clip_ratio/region_mean"])
