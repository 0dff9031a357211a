"""Losses of preference pairs against values done by hand (F15, F16, F17)."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, log1p
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from aftertrain.plugins.losses.dpo import DPO
from aftertrain.plugins.losses.hinge import Hinge
from aftertrain.plugins.losses.ipo import IPO
from aftertrain.plugins.losses.orpo import ORPO, log_odds
from aftertrain.plugins.losses.reward_model import RewardModel
from aftertrain.plugins.losses.robust import Robust
from aftertrain.plugins.losses.settings import SimPOSettings
from aftertrain.plugins.losses.simpo import SimPO
from aftertrain.plugins.losses.wpo import WPO

CHOSEN, REJECTED = [-1.0, -2.0], [-3.0]
REFERENCE = [[-1.5, -2.5], [-2.5]]


def softplus(x: float) -> float:
    """−log σ(−x)."""
    return log1p(exp(x))


def test_dpo(build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]) -> None:
    """Chosen (−1, −2) against reference (−1.5, −2.5): r_w = 1. Rejected −3 against −2.5: r_l = −0.5 (F15).

    With β = 2: z = 2(1 + 0.5) = 3, loss = −log σ(3) = log(1 + e⁻³) = 0.048587. Its gradient in each chosen token's
    log-prob is −βσ(−3) = −2/(1 + e³) = −0.094852, in each rejected token's the opposite.
    """
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True, columns={"reference_logprobs": REFERENCE})
    loss, grad, metrics = value(build(DPO, beta=2.0), batch, logprobs)
    assert loss == pytest.approx(softplus(-3.0)) == pytest.approx(0.048587, abs=1e-6)
    slope = 2 / (1 + exp(3))
    assert grad[batch.loss_mask].tolist() == pytest.approx([-slope, -slope, slope])
    assert not grad[~batch.loss_mask].any()
    assert metrics == pytest.approx(
        {
            "accuracy": 1.0,
            "margin": 3.0,
            "reward_chosen": 2.0,
            "reward_rejected": -1.0,
            "logps_chosen": -3.0,
            "logps_rejected": -3.0,
        }
    )


def test_dpo_by_length(build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]) -> None:
    """The same pair with means per token: r_w = 1/2, r_l = −0.5, z = 5·1 = 5 for β = 5 (F16).

    A chosen token's gradient is −(β/2)σ(−5), two tokens sharing the mean; the rejected one's is βσ(−5).
    """
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True, columns={"reference_logprobs": REFERENCE})
    loss, grad, _ = value(build(DPO, beta=5.0, normalize="length"), batch, logprobs)
    assert loss == pytest.approx(softplus(-5.0))
    slope = 5 / (1 + exp(5))
    assert grad[batch.loss_mask].tolist() == pytest.approx([-slope / 2, -slope / 2, slope])


def test_dpo_with_label_smoothing(
    build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]
) -> None:
    """ε = 0.1, z = 3: 0.9·log(1 + e⁻³) + 0.1·log(1 + e³) = 0.9·0.048587 + 0.1·3.048587 = 0.348587."""
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True, columns={"reference_logprobs": REFERENCE})
    loss, _, _ = value(build(DPO, beta=2.0, label_smoothing=0.1), batch, logprobs)
    assert loss == pytest.approx(0.348587, abs=1e-6)


@pytest.mark.parametrize("margin", [{"gamma": 1.0}, {"gamma_beta_ratio": 0.5}, {}])
def test_simpo(
    margin: dict[str, float], build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]
) -> None:
    """β = 2: r_w = 2·(−1.5) = −3, r_l = 2·(−3) = −6, Δ = 3, γ = 1: loss = log(1 + e⁻²) = 0.126928 (F17).

    γ = 1 and γ/β = 0.5 are the same margin; the latter is the default. A chosen token's gradient: −(β/2)σ(−2).
    """
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True)
    loss, grad, metrics = value(build(SimPO, beta=2.0, **margin), batch, logprobs)
    assert loss == pytest.approx(0.126928, abs=1e-6)
    slope = 2 / (1 + exp(2))
    assert grad[batch.loss_mask].tolist() == pytest.approx([-slope / 2, -slope / 2, slope])
    expected = {"accuracy": 1.0, "margin": 3.0, "reward_chosen": -3.0, "reward_rejected": -6.0}
    assert metrics == pytest.approx(expected | {"logps_chosen": -3.0, "logps_rejected": -3.0})


def test_simpo_with_label_smoothing(
    build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]
) -> None:
    """As above with ε = 0.1: βΔ − γ = 2, so 0.9·log(1 + e⁻²) + 0.1·log(1 + e²) = 0.9·0.126928 + 0.1·2.126928."""
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True)
    loss, _, _ = value(build(SimPO, beta=2.0, gamma=1.0, label_smoothing=0.1), batch, logprobs)
    assert loss == pytest.approx(0.326928, abs=1e-6)


def test_ipo(build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]) -> None:
    """By length h = 1/2 + 1/2 = 1 and by sums 3/2 (see DPO's); β = 1/4 wants h = 2: losses (1 − 2)² and (1.5 − 2)².

    By length a chosen token's gradient is 2(h − 2)/2 = −1, the rejected one's 2.
    """
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True, columns={"reference_logprobs": REFERENCE})
    loss, grad, metrics = value(build(IPO, beta=0.25), batch, logprobs)
    assert loss == pytest.approx(1.0)
    assert grad[batch.loss_mask].tolist() == pytest.approx([-1.0, -1.0, 2.0])
    assert (metrics["margin"], metrics["reward_chosen"]) == pytest.approx((0.25, 0.125))
    loss, grad, _ = value(build(IPO, beta=0.25, normalize="none"), batch, logprobs)
    assert loss == pytest.approx(0.25)
    assert grad[batch.loss_mask].tolist() == pytest.approx([-1.0, -1.0, 1.0])


def test_hinge(build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]) -> None:
    """h = 1.5: β = 0.5 leaves 1 − 0.75 = 0.25 with gradient −0.5 a token; with β = 1 the pair is done with."""
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True, columns={"reference_logprobs": REFERENCE})
    loss, grad, _ = value(build(Hinge, beta=0.5), batch, logprobs)
    assert loss == pytest.approx(0.25)
    assert grad[batch.loss_mask].tolist() == pytest.approx([-0.5, -0.5, 0.5])
    loss, grad, _ = value(build(Hinge, beta=1.0), batch, logprobs)
    assert loss == 0.0
    assert not grad.any()


def test_robust(build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]) -> None:
    """ε = 0.1, z = 3: (0.9·0.048587 − 0.1·3.048587)/0.8 = (0.043729 − 0.304859)/0.8 = −0.326413.

    Over a share ε of flipped pairs it is DPO's loss again: 0.9·f(3) + 0.1·f(−3) = 0.048587, with
    f(−3) = (0.9·3.048587 − 0.1·0.048587)/0.8 = 3.423587.
    """
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True, columns={"reference_logprobs": REFERENCE})
    kept, _, _ = value(build(Robust, beta=2.0, label_smoothing=0.1), batch, logprobs)
    assert kept == pytest.approx(-0.326413, abs=1e-6)
    swapped, scores = packed([REJECTED, CHOSEN], paired=True, columns={"reference_logprobs": REFERENCE[::-1]})
    flipped, _, _ = value(build(Robust, beta=2.0, label_smoothing=0.1), swapped, scores)
    assert flipped == pytest.approx(3.423587, abs=1e-6)
    assert 0.9 * kept + 0.1 * flipped == pytest.approx(softplus(-3.0), abs=1e-6)


def test_wpo(build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]) -> None:
    """log Σp² of (−1.5, −2) for the chosen and −2 for the rejected: mean alignments (0.5 + 0)/2 = 1/4 and −3 + 2 = −1.

    The pair weighs e^(1/4 − 1) = e^(−3/4) = 0.472367, its loss is 0.472367·0.048587 = 0.022951, and the gradient is
    DPO's times the weight, for the weight has none. A cap of 0.25 leaves 0.25·0.048587.
    """
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True, columns={"reference_logprobs": REFERENCE})
    p2 = torch.tensor([0.0, 0.0, -1.5, -2.0, 0.0, 0.0, -2.0], requires_grad=True)
    loss, grad, _ = value(build(WPO, beta=2.0), batch, logprobs, log_sum_p2=p2)
    assert loss == pytest.approx(exp(-0.75) * softplus(-3.0)) == pytest.approx(0.022951, abs=1e-6)
    slope = exp(-0.75) * 2 / (1 + exp(3))
    assert grad[batch.loss_mask].tolist() == pytest.approx([-slope, -slope, slope])
    loss, _, _ = value(build(WPO, beta=2.0, max_weight=0.25), batch, logprobs, log_sum_p2=p2)
    assert loss == pytest.approx(0.25 * softplus(-3.0))


@pytest.mark.parametrize(("likelihood", "nll"), [("reply", 1.5), ("sequence", 7 / 6)])
def test_orpo(
    likelihood: str, nll: float, build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]
) -> None:
    """Mean log-probs −1.5 and −3: p = 0.223130 and 0.049787, odds 0.287213 and 0.052396, log ratio 1.701413.

    −log σ(1.701413) = 0.167568; with λ = 0.5 and the chosen reply's 1.5 nats a token the loss is 1.5 + 0.083784. With
    the prompt's second token at −0.5 (its first is predicted from nothing) the likelihood is (0.5 + 1 + 2)/3.
    """
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True)
    scores = torch.where(batch.loss_mask, logprobs, torch.where(batch.position_ids == 1, -0.5, 0.0)).detach()
    scores.requires_grad_()
    loss, grad, metrics = value(build(ORPO, beta=0.5, likelihood=likelihood), batch, scores)
    odds = [exp(x) / (1 - exp(x)) for x in (-1.5, -3.0)]
    assert metrics["log_odds_ratio"] == pytest.approx(log(odds[0] / odds[1])) == pytest.approx(1.701413, abs=1e-6)
    assert loss == pytest.approx(nll + 0.083784, abs=1e-6)
    assert metrics["nll"] == pytest.approx(nll)
    assert bool(grad[1] != 0) is (likelihood == "sequence")
    assert not grad[4:6].any()


def test_log_odds_keep_their_digits() -> None:
    """Against double precision, from certain to impossible; at and above 0 they stay finite."""
    x = torch.tensor([-1e-5, -1e-3, -0.5, -0.6931, -0.6932, -1.0, -20.0, -1e4], requires_grad=True)
    found = log_odds(x)
    exact = x.detach().double()
    torch.testing.assert_close(found.double(), exact - torch.log(-torch.expm1(exact)), rtol=2e-6, atol=2e-7)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(gradient.double(), 1 / -torch.expm1(exact), rtol=2e-6, atol=0)
    assert torch.isfinite(log_odds(torch.tensor([0.0, 1e-3]))).all()


def test_simpo_wants_one_margin() -> None:
    with pytest.raises(ValidationError, match="give gamma or gamma_beta_ratio"):
        SimPOSettings(gamma=1.0, gamma_beta_ratio=0.5)


def test_reward_model(build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]) -> None:
    """Scores at the last tokens 0.5 and −1: −log σ(1.5) + 0.01·(0.5 − 1)² = 0.201413 + 0.0025.

    The gradient in the chosen score is −σ(−1.5) + 2·0.01·(−0.5), and 0 at every other token.
    """
    batch, scores = packed([[8.0, 0.5], [-1.0]], paired=True)
    loss, grad, metrics = value(build(RewardModel, centering=0.01), batch, scores, "values")
    assert loss == pytest.approx(log(1 + exp(-1.5)) + 0.0025)
    expected = torch.zeros(7)
    expected[3] = -1 / (1 + exp(1.5)) - 0.01
    expected[6] = 1 / (1 + exp(1.5)) - 0.01
    torch.testing.assert_close(grad, expected)
    assert metrics == pytest.approx({"accuracy": 1.0, "margin": 1.5, "reward_chosen": 0.5, "reward_rejected": -1.0})


def test_reward_model_with_margins(
    build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]
) -> None:
    """Scores 0.5 and −1 that should differ by 2: −log σ(1.5 − 2) = log(1 + e^0.5) = 0.974077; accuracy is without."""
    batch, scores = packed([[8.0, 0.5], [-1.0]], paired=True, margin=[2.0, 2.0])
    loss, _, metrics = value(build(RewardModel, margin=True), batch, scores, "values")
    assert loss == pytest.approx(0.974077, abs=1e-6)
    assert (metrics["accuracy"], metrics["margin"]) == (1.0, 1.5)
    assert value(build(RewardModel), batch, scores, "values")[0] == pytest.approx(softplus(-1.5))


@pytest.mark.parametrize("kind", [DPO, SimPO, RewardModel])
def test_filler_pairs_count_for_nothing(
    kind: Any, build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]
) -> None:
    """A pair of weight 0 moves neither loss, nor gradient, nor metrics."""
    name = "values" if kind is RewardModel else "logprobs"
    columns = {"reference_logprobs": [*REFERENCE, [-1.0], [-1.0]]}
    alone = value(
        build(kind), *packed([CHOSEN, REJECTED], paired=True, columns={"reference_logprobs": REFERENCE}), name
    )
    replies = [CHOSEN, REJECTED, [-9.0], [-1.0]]
    beside = value(build(kind), *packed(replies, paired=True, weights=[1, 1, 0, 0], columns=columns), name)
    assert alone[0] == beside[0]
    assert alone[2] == beside[2]
    torch.testing.assert_close(alone[1], beside[1][: len(alone[1])])
    assert not beside[1][len(alone[1]) :].any()
