"""Losses of sampled replies, worked by hand: the same three tokens under each, and what they share."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.plugins.losses.actor_critic import ActorCritic
from aftertrain.plugins.losses.cispo import CISPO
from aftertrain.plugins.losses.dapo import DAPO
from aftertrain.plugins.losses.dr_grpo import DrGRPO
from aftertrain.plugins.losses.grpo import GRPO
from aftertrain.plugins.losses.gspo import GSPO
from aftertrain.plugins.losses.ppo import PPO
from aftertrain.plugins.losses.reinforce import Reinforce

LOG = math.log
OLD = (-1.0, -1.0, -2.0)
ALL: list[tuple[Any, dict[str, Any]]] = [
    (PPO, {}),
    (ActorCritic, {}),
    (GRPO, {}),
    (GRPO, {"reduction": "sequence_mean"}),
    (DrGRPO, {"length": 4}),
    (DAPO, {}),
    (GSPO, {}),
    (GSPO, {"credit": "token"}),
    (CISPO, {}),
    (Reinforce, {}),
    (Reinforce, {"reduction": "token_mean"}),
    (Reinforce, {"reduction": "sequence_mean"}),
]


def made(kind: Any, **settings: Any) -> Any:
    return kind(kind.Config(**settings), None)


def batch(second: tuple[float, float] = (-1.0, -1.0), weight: float = 1.0) -> PackedBatch:
    """A prompt token and one action with A = 2; a prompt token and two actions with A = −1 each, or as given."""
    columns = {"old_logprobs": [0, OLD[0]], "advantages": [9, 2.0], "returns": [9, 3.0], "old_values": [9, 0.0]}
    others = {
        "old_logprobs": [0, *OLD[1:]],
        "advantages": [9, *second],
        "returns": [9, 1.0, 1.0],
        "old_values": [9, 0.0, 0.0],
    }
    return collate(
        [
            Segment("a", [5, 6], [False, True], columns=columns),
            Segment("b", [5, 7, 8], [False, True, True], weight=weight, columns=others),
        ]
    )


def run(loss: Any, ratios: tuple[float, float, float], packed: PackedBatch | None = None) -> tuple[float, Any, Any]:
    """Numerator of the policy, its gradient in the three actions' log-probs, metrics divided."""
    a, b, c = (old + LOG(ratio) for old, ratio in zip(OLD, ratios, strict=True))
    logprobs = torch.tensor([0.0, a, 0.0, b, c], requires_grad=True)
    output = loss(packed or batch(), TokenScores(logprobs=logprobs, values=torch.zeros(5)))
    (gradient,) = torch.autograd.grad(output.terms["policy"], logprobs)
    metrics = {name: float(ratio.sum) / float(ratio.count) for name, ratio in output.metrics.items()}
    assert gradient[[0, 2]].tolist() == [0.0, 0.0], "prompt tokens have no part"
    return float(output.terms["policy"].detach()), gradient[[1, 3, 4]].tolist(), metrics


def test_dapo_by_hand() -> None:
    """ρ = 1.5, 1.5, 0.5. A = 2: −2·min(1.5, 1.28) = −2.56, cut. A = −1: 1.5; max(0.5, 0.8) = 0.8, cut. Sum −0.26.

    Only the second token pushes: ρ·1 = 1.5.
    """
    value, gradient, metrics = run(made(DAPO), (1.5, 1.5, 0.5))
    assert value == pytest.approx(-0.26)
    assert gradient == pytest.approx([0, 1.5, 0])
    assert metrics["clip_fraction"] == pytest.approx(2 / 3)
    assert metrics["ratio"] == pytest.approx(3.5 / 3)
    assert made(DAPO).needs.per == {"policy": "token"}


def test_dr_grpo_by_hand() -> None:
    """Clipped at 1.2: −2.4 + 1.5 + 0.8 = −0.1, by L = 4, whatever a reply's length: −0.025 over two replies."""
    loss = made(DrGRPO, length=4)
    value, gradient, _ = run(loss, (1.5, 1.5, 0.5))
    assert value == pytest.approx(-0.025)
    assert gradient == pytest.approx([0, 1.5 / 4, 0])
    assert loss.needs.per == {"policy": "segment"}
    assert run(made(DrGRPO, length=4, clip_high=0.28), (1.5, 1.5, 0.5))[0] == pytest.approx(-0.26 / 4)


def test_gspo_by_hand() -> None:
    """s of the second reply = √(1.5·0.9) = √1.35 = 1.1619, of the first 1.0002: within 1 + 4e-4.

    −2·1.0002 − (−1)·1.1619, for A < 0 nothing above is cut. Each token of a reply gets s·A/|y|.
    """
    s = math.sqrt(1.35)
    value, gradient, metrics = run(made(GSPO), (1.0002, 1.5, 0.9))
    assert value == pytest.approx(-2.0004 + s, abs=1e-6)
    assert gradient == pytest.approx([-2.0004, s / 2, s / 2], abs=1e-6)
    assert metrics["clip_fraction"] == 0
    assert metrics["ratio"] == pytest.approx((1.0002 + 2 * s) / 3, abs=1e-6)
    value, gradient, metrics = run(made(GSPO), (1.001, 0.99, 1.0))  # both beyond the tiny range: nothing pushes
    assert value == pytest.approx(-2 * 1.0004 + 0.9997, abs=1e-6)
    assert gradient == [0, 0, 0]
    assert metrics["clip_fraction"] == 1


def test_gspo_credits_tokens_by_hand() -> None:
    """A = (−1, 3) in the second reply, s = √1.35 within the clip: s·(1, −3)/2 by tokens, −s/2 each by their mean 1."""
    s = math.sqrt(1.35)
    packed = batch(second=(-1.0, 3.0))
    value, gradient, _ = run(made(GSPO, credit="token", clip_high=0.5), (1.0, 1.5, 0.9), packed)
    assert value == pytest.approx(-2 + (s - 3 * s) / 2, abs=1e-6)
    assert gradient == pytest.approx([-2, s / 2, -3 * s / 2], abs=1e-6)
    value, gradient, _ = run(made(GSPO, clip_high=0.5), (1.0, 1.5, 0.9), packed)
    assert value == pytest.approx(-2 - s, abs=1e-6)
    assert gradient == pytest.approx([-2, -s / 2, -s / 2], abs=1e-6)


@pytest.mark.parametrize("ratios", [(1.0002, 1.5, 0.9), (1.0, 1.0, 1.0), (0.2, 0.3, 0.4)])
def test_gspo_of_tokens_is_gspo_where_a_reply_has_one_advantage(ratios: Any) -> None:
    """The paper's equation 15 and 16: equal values, gradients and clipping."""
    (value, gradient, metrics), (other, slope, figures) = (
        run(made(GSPO, credit=credit), ratios) for credit in ("sequence", "token")
    )
    assert value == pytest.approx(other)
    assert gradient == pytest.approx(slope)
    assert metrics == pytest.approx(figures)


def test_cispo_by_hand() -> None:
    """Weights min(ρ, 2) = 2, 1.5, 0.5: −w·A·log π with log π = OLD + log ρ, and the gradient −w·A, clipped or not."""
    ratios = (3.0, 1.5, 0.5)
    value, gradient, metrics = run(made(CISPO, clip_high=1.0), ratios)
    logprobs = [old + LOG(ratio) for old, ratio in zip(OLD, ratios, strict=True)]
    assert value == pytest.approx(-4 * logprobs[0] + 1.5 * logprobs[1] + 0.5 * logprobs[2])
    assert gradient == pytest.approx([-4, 1.5, 0.5])
    assert metrics["clip_fraction"] == pytest.approx(1 / 3)
    assert run(made(CISPO, clip_high=1.0, clip=0.2), ratios)[1] == pytest.approx([-4, 1.5, 0.8])
    assert run(made(CISPO), ratios)[1] == pytest.approx([-6, 1.5, 0.5]), "5 is the default bound"


@pytest.mark.parametrize(
    ("reduction", "expected"), [("sum", [-2, 1, 1]), ("token_mean", [-2, 1, 1]), ("sequence_mean", [-2, 0.5, 0.5])]
)
def test_reinforce_by_hand(reduction: str, expected: list[float]) -> None:
    """−A whatever the ratio; sum and token_mean differ in what divides them."""
    loss = made(Reinforce, reduction=reduction)
    _, gradient, metrics = run(loss, (3.0, 1.5, 0.5))
    assert gradient == pytest.approx(expected)
    assert "clip_fraction" not in metrics
    assert metrics["ratio"] == pytest.approx(5 / 3)
    assert loss.needs.per == {"policy": "token" if reduction == "token_mean" else "segment"}


def test_actor_critic_by_hand_f37() -> None:
    """V = (2, 0, 0.5) before the actions, R = (3, 1, 1): ½·c·(1 + 1 + 0.25); the policy's part is REINFORCE's."""
    values = torch.tensor([2.0, 77.0, 0.0, 0.5, 77.0], requires_grad=True)
    loss = made(ActorCritic, value_coefficient=0.5)
    logprobs = torch.tensor([0.0, *OLD[:1], 0.0, *OLD[1:]])
    output = loss(batch(), TokenScores(logprobs=logprobs, values=values))
    assert float(output.terms["value"].detach()) == pytest.approx(0.25 * 2.25)
    assert torch.autograd.grad(output.terms["value"], values)[0].tolist() == pytest.approx([-0.5, 0, -0.5, -0.25, 0])
    assert float(output.terms["policy"]) == pytest.approx(-2 * OLD[0] + OLD[1] + OLD[2])
    assert float(output.metrics["value_error"].sum) == pytest.approx(2.25)
    assert loss.needs.columns == {"old_logprobs", "advantages", "returns"}


@pytest.mark.parametrize(("kind", "settings"), ALL)
def test_the_first_pass_is_the_policy_gradient(kind: Any, settings: dict[str, Any]) -> None:
    """ρ = 1 in value only: with old_logprobs = the pass's own, every loss pushes by −A, weighed by its reduction.

    A loss that took the ratio from one detached tensor and forgot to keep log π's gradient would push by 0.
    """
    loss = made(kind, **settings)
    logprobs = torch.tensor([0.0, *OLD[:1], 0.0, *OLD[1:]], requires_grad=True)
    packed = batch().with_columns(old_logprobs=logprobs.detach())
    output = loss(packed, TokenScores(logprobs=logprobs, values=torch.zeros(5)))
    (gradient,) = torch.autograd.grad(output.terms["policy"], logprobs)
    expected = torch.tensor([0.0, -2, 0, 1, 1])
    by_reply = {GSPO: [1.0, 2.0], DrGRPO: [4.0, 4.0]}.get(kind)
    if settings.get("reduction") == "sequence_mean":
        by_reply = [1.0, 2.0]
    if by_reply:
        expected /= torch.tensor(by_reply)[packed.segment_ids]
    assert gradient.tolist() == pytest.approx(expected.tolist())
    ratio = output.metrics["ratio"]
    assert float(ratio.sum) / float(ratio.count) == 1.0
    assert float(output.metrics["approx_kl"].sum) == 0.0


@pytest.mark.parametrize(("kind", "settings"), ALL)
def test_weight_zero_counts_for_nothing(kind: Any, settings: dict[str, Any]) -> None:
    """Filler whose ratios overflow exp() leaves value, gradient and metrics finite and alone."""
    loss = made(kind, **settings)
    logprobs = torch.tensor([0.0, -1, 0, 200, 200], requires_grad=True)
    packed = batch(weight=0.0)
    output = loss(packed, TokenScores(logprobs=logprobs, values=torch.zeros(5)))
    (gradient,) = torch.autograd.grad(output.terms["policy"], logprobs)
    assert gradient[1] != 0
    assert gradient[[0, 2, 3, 4]].tolist() == [0, 0, 0, 0]
    assert all(float(ratio.count) == 1 for ratio in output.metrics.values())
    alone = loss(
        packed.select(torch.tensor([True, False])),
        TokenScores(logprobs=logprobs[:2].detach(), values=torch.zeros(2)),
    )
    assert {name: term.item() for name, term in alone.terms.items()} == {
        name: term.item() for name, term in output.terms.items()
    }


@pytest.mark.parametrize(("kind", "settings"), ALL)
def test_what_is_added_is_weighed_alike(kind: Any, settings: dict[str, Any]) -> None:
    """−A·log π through `token_sum` has the loss's own gradient at ρ = 1: β·KL means the same beside each."""
    loss = made(kind, **settings)
    logprobs = torch.tensor([0.0, *OLD[:1], 0.0, *OLD[1:]], requires_grad=True)
    packed = batch()
    (own,) = torch.autograd.grad(
        loss(packed, TokenScores(logprobs=logprobs, values=torch.zeros(5))).terms["policy"], logprobs
    )
    (added,) = torch.autograd.grad(loss.token_sum(packed, -packed.columns["advantages"] * logprobs), logprobs)
    assert added.tolist() == pytest.approx(own.tolist())
