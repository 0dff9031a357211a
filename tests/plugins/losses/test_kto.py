"""KTO against values done by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import exp
from typing import Any

import pytest
import torch

from aftertrain.core.batch import TokenScores
from aftertrain.core.errors import NumericsError
from aftertrain.plugins.losses.kto import KTO

GOOD, BAD = [-1.0, -2.0], [-3.0]
REFERENCE = [[-1.5, -2.5], [-2.5]]


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_without_a_kl(build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]) -> None:
    """r = 1 of the good reply and −0.5 of the bad one, β = 2: losses 1 − σ(2) and 2·(1 − σ(1)), weights 1 and 2.

    Their mean is (0.119203 + 2·0.268941)/2 = 0.328543. The gradient of 1 − σ(βr) in r is −βσ(βr)(1 − σ(βr)).
    """
    columns = {"reference_logprobs": REFERENCE}
    batch, logprobs = packed([GOOD, BAD], paired=False, columns=columns, label=[1.0, 0.0])
    loss, grad, metrics = value(build(KTO, beta=2.0, kl="none", undesirable_weight=2.0), batch, logprobs)
    assert loss == pytest.approx(((1 - sigmoid(2)) + 2 * (1 - sigmoid(1))) / 2) == pytest.approx(0.328543, abs=1e-6)
    good, bad = 2 * sigmoid(2) * sigmoid(-2) / 2, 2 * 2 * sigmoid(1) * sigmoid(-1) / 2
    assert grad[batch.loss_mask].tolist() == pytest.approx([-good, -good, bad])
    assert metrics == pytest.approx({"accuracy": 1.0, "reward_chosen": 2.0, "reward_rejected": -1.0, "kl": 0.0})


@pytest.mark.parametrize(("probe", "kl"), [(-2.0, 0.5), (-3.5, 0.0)])
def test_rewards_are_measured_from_the_kl(
    probe: float, kl: float, build: Callable[..., Any], packed: Callable[..., Any]
) -> None:
    """Mismatched replies at −2 and −2 − with references −2.5: z = 0.5; below the reference z = 0, never less.

    With z = 0.5 and β = 2: 1 − σ(2·0.5) of the good reply, 1 − σ(2·1) of the bad one. z has no gradient.
    """
    loss = build(KTO, beta=2.0)
    columns = {"reference_logprobs": REFERENCE}
    batch, logprobs = packed([GOOD, BAD], paired=False, columns=columns, label=[1.0, 0.0])
    probes, scores = packed([[probe], [probe]], paired=False, columns={"reference_logprobs": [[-2.5], [-2.5]]})
    found = loss.statistics(probes, TokenScores(logprobs=scores))
    assert not found["kl"].requires_grad
    assert found["kl"].tolist() == pytest.approx([2 * (probe + 2.5), 2.0])
    output = loss(batch.with_statistics(found), TokenScores(logprobs=logprobs))
    expected = (1 - sigmoid(2 * (1 - kl))) + (1 - sigmoid(2 * (kl + 0.5)))
    assert output.terms["policy"].item() == pytest.approx(expected)
    assert float(output.metrics["kl"].sum) / 2 == pytest.approx(kl)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_kl_that_is_not_finite_is_an_error(bad: float, build: Callable[..., Any], packed: Callable[..., Any]) -> None:
    """max(0, NaN) is 0: the step went on as if there were no KL."""
    columns = {"reference_logprobs": REFERENCE}
    batch, logprobs = packed([GOOD, BAD], paired=False, columns=columns, label=[1.0, 0.0])
    with pytest.raises(NumericsError, match=f"kto: the KL estimate is {bad}"):
        build(KTO)(batch.with_statistics({"kl": torch.tensor([bad, 2.0])}), TokenScores(logprobs=logprobs))


def test_filler_probes_are_not_in_the_kl(build: Callable[..., Any], packed: Callable[..., Any]) -> None:
    """A probe of weight 0 is in neither sum nor count."""
    columns = {"reference_logprobs": [[-2.5], [-2.5]]}
    probes, scores = packed([[-2.0], [-9.0]], paired=False, columns=columns, weights=[1.0, 0.0])
    found = build(KTO).statistics(probes, TokenScores(logprobs=scores))
    torch.testing.assert_close(found["kl"], torch.tensor([0.5, 1.0]))
