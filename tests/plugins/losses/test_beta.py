"""The schedule of β in preference losses (F22)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import exp, log1p, sqrt
from typing import Any

import pytest
from pydantic import ValidationError

from aftertrain.core.batch import TokenScores
from aftertrain.plugins.losses.dpo import DPO
from aftertrain.plugins.losses.settings import DPOSettings
from aftertrain.plugins.losses.simpo import SimPO

CHOSEN, REJECTED = [-1.0, -2.0], [-3.0]
COLUMNS = {"reference_logprobs": [[-1.5, -2.5], [-2.5]]}


def softplus(x: float) -> float:
    return log1p(exp(x))


def test_it_rises_as_a_root(build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]) -> None:
    """A quarter of the way β is half of 4: h = 1.5, loss log(1 + e^(−2·1.5)); at the end it is 4."""
    loss = build(DPO, beta=4.0, beta_schedule="adaptive")
    assert not loss.needs.statistics
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True, columns=COLUMNS)
    for progress, beta in ((0.25, 2.0), (1.0, 4.0)):
        found, _, metrics = value(loss, replace(batch, progress=progress), logprobs)
        assert found == pytest.approx(softplus(-beta * 1.5), rel=1e-5)
        assert metrics["beta"] == pytest.approx(beta)
        assert metrics["reward_chosen"] == pytest.approx(beta * 1.0)


@pytest.mark.parametrize(("target", "scale"), [(0.01, sqrt(0.01 / softplus(-3.0))), (0.5, 1.0)])
def test_it_is_lower_while_the_loss_is_above_its_target(
    target: float, scale: float, build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]
) -> None:
    """l_t is the step's loss under β = 4·√¼ = 2: log(1 + e⁻³) = 0.048587. L = 0.01: β = 2·√(0.01/0.048587) = 0.9073."""
    loss = build(DPO, beta=4.0, beta_schedule="adaptive", target_loss=target)
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True, columns=COLUMNS)
    found, _, metrics = value(loss, replace(batch, progress=0.25), logprobs)
    assert metrics["beta"] == pytest.approx(2 * scale, rel=1e-5)
    assert found == pytest.approx(softplus(-2 * scale * 1.5), rel=1e-5)


def test_its_statistics_have_no_gradient(build: Callable[..., Any], packed: Callable[..., Any]) -> None:
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True, columns=COLUMNS)
    loss = build(DPO, beta_schedule="adaptive", target_loss=0.1)
    assert not loss.statistics(batch, TokenScores(logprobs=logprobs))["loss"].requires_grad


def test_simpos_ratio_moves_with_beta(
    build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]
) -> None:
    """γ/β = 0.5 and h = 1.5: β(h − 0.5), so at β = 1 the loss is log(1 + e⁻¹); γ = 1 stays: log(1 + e^−0.5)."""
    batch, logprobs = packed([CHOSEN, REJECTED], paired=True)
    batch = replace(batch, progress=0.25)
    ratio = build(SimPO, beta=2.0, beta_schedule="adaptive")
    fixed = build(SimPO, beta=2.0, gamma=1.0, beta_schedule="adaptive")
    assert value(ratio, batch, logprobs)[0] == pytest.approx(softplus(-1.0))
    assert value(fixed, batch, logprobs)[0] == pytest.approx(softplus(-0.5))


def test_a_target_needs_a_schedule() -> None:
    with pytest.raises(ValidationError, match="it is for beta_schedule: adaptive, and beta_schedule is constant"):
        DPOSettings(target_loss=0.5)
