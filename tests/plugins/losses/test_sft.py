"""Supervised finetuning against sums done by hand (F11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from aftertrain.core.batch import TokenScores
from aftertrain.core.errors import RunError
from aftertrain.core.settings import Use
from aftertrain.plugins.losses.confidence_penalty import ConfidencePenalty
from aftertrain.plugins.losses.reference_kl import ReferenceKL
from aftertrain.plugins.losses.settings import ConfidencePenaltySettings, ReferenceKLSettings
from aftertrain.plugins.losses.sft import SFT


@pytest.mark.parametrize(
    ("reduction", "expected", "gradient"),
    [
        ("sum", 3.0, [-0.5, -0.5, -0.5, -0.5]),
        ("token_mean", 1.5, [-0.25, -0.25, -0.25, -0.25]),
        ("sequence_mean", 2.0, [-1 / 6, -1 / 6, -1 / 6, -0.5]),
    ],
)
def test_the_three_reductions(
    reduction: str,
    expected: float,
    gradient: list[float],
    build: Callable[..., Any],
    packed: Callable[..., Any],
    value: Callable[..., Any],
) -> None:
    """Two replies with −log p of (1, 1, 1) and (3): six nats, four tokens, two sequences (F11).

    sum: (3 + 3)/2 = 3; token_mean: 6/4 = 1.5; sequence_mean: (1 + 3)/2 = 2. A token's gradient is −1 over what divides
    it: 2 sequences, 4 tokens, or 2 sequences × its length. Prompt tokens have none.
    """
    batch, logprobs = packed([[-1.0, -1.0, -1.0], [-3.0]], paired=False)
    loss, grad, metrics = value(build(SFT, reduction=reduction), batch, logprobs)
    assert loss == pytest.approx(expected)
    assert grad[batch.loss_mask].tolist() == pytest.approx(gradient)
    assert not grad[~batch.loss_mask].any()
    summed = {"targets_per_unit": 2.0} if reduction == "sum" else {}
    assert metrics == {"nll_per_token": pytest.approx(1.5), **summed}


@pytest.mark.parametrize("reduction", ["sum", "token_mean", "sequence_mean"])
def test_filler_counts_for_nothing(
    reduction: str, build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]
) -> None:
    """A segment of weight 0 moves neither loss, nor gradient, nor metrics."""
    loss = build(SFT, reduction=reduction)
    alone = value(loss, *packed([[-1.0, -2.0]], paired=False))
    beside = value(loss, *packed([[-1.0, -2.0], [-5.0]], paired=False, weights=[1.0, 0.0]))
    assert alone[0] == beside[0]
    assert alone[2] == beside[2]
    torch.testing.assert_close(alone[1], beside[1][: len(alone[1])])
    assert not beside[1][len(alone[1]) :].any()


def test_the_mean_per_micro_batch_depends_on_the_cut(
    build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]
) -> None:
    """In one micro-batch (1 + 1 + 1 + 3)/4 = 1.5; in two, (3/3 + 3/1)/2 = 2: what F11 lists for comparison only."""
    loss = build(SFT, reduction="micro_batch_mean")
    assert value(loss, *packed([[-1.0, -1.0, -1.0], [-3.0]], paired=False))[0] == pytest.approx(1.5)
    parts = [value(loss, *packed([reply], paired=False))[0] for reply in ([-1.0, -1.0, -1.0], [-3.0])]
    assert sum(parts) / len(parts) == pytest.approx(2.0)
    batch, logprobs = packed([[-5.0]], paired=False, weights=[0.0])
    assert batch.count("micro_batch") == 0
    assert loss(batch, TokenScores(logprobs=logprobs)).terms["policy"].item() == 0


@pytest.mark.parametrize("reduction", ["sum", "token_mean", "sequence_mean"])
def test_a_regularizer_is_added(
    reduction: str, build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]
) -> None:
    """L + λR: the entropies 2 of every token of the replies above, λ = 0.5, so R is −2 times what a nat a token counts.

    sum: (3 + 1)/2 tokens a sequence, R = −4; token_mean and sequence_mean: R = −2. Each token's gradient in its entropy
    is −λ over what divides it.
    """
    mean = {"sum": 2.0, "token_mean": 1.0, "sequence_mean": 1.0}[reduction]
    batch, logprobs = packed([[-1.0, -1.0, -1.0], [-3.0]], paired=False)
    entropy = torch.full_like(logprobs, 2.0)
    plain, _, _ = value(build(SFT, reduction=reduction), batch, logprobs)
    penalty = Use("loss", ConfidencePenalty, ConfidencePenaltySettings(reduction=reduction))
    loss = build(SFT, reduction=reduction, regularizer=penalty, regularizer_weight=0.5)
    assert loss.needs.scores == {"logprobs", "entropy"}
    found, _, metrics = value(loss, batch, logprobs, entropy=entropy)
    assert found == pytest.approx(plain - 0.5 * 2.0 * mean)
    assert metrics["regularizer"] == pytest.approx(-2.0 * mean)
    assert metrics["entropy"] == pytest.approx(2.0)


def test_the_distance_from_the_reference(
    build: Callable[..., Any], packed: Callable[..., Any], value: Callable[..., Any]
) -> None:
    """Log-probs −1 and −3 against −1.5 and −2: ½(0.25 + 1) = 0.625 nats a sequence; gradients 0.5 and −1 (k2 of F28).

    Beside supervised finetuning with λ = 2: 4 + 1.25.
    """
    batch, logprobs = packed([[-1.0, -3.0]], paired=False, columns={"reference_logprobs": [[-1.5, -2.0]]})
    loss, grad, metrics = value(build(ReferenceKL), batch, logprobs)
    assert loss == pytest.approx(0.625)
    assert grad[batch.loss_mask].tolist() == pytest.approx([0.5, -1.0])
    assert metrics == pytest.approx({"reference_kl": 0.3125})
    use = Use("loss", ReferenceKL, ReferenceKLSettings())
    both = build(SFT, regularizer=use, regularizer_weight=2.0)
    assert both.needs.columns == {"reference_logprobs"}
    assert value(both, batch, logprobs)[0] == pytest.approx(5.25)


def test_a_regularizer_of_another_unit_is_refused(build: Callable[..., Any]) -> None:
    use = Use("loss", ConfidencePenalty, ConfidencePenaltySettings())
    with pytest.raises(RunError, match=r"learn from Conversation or Document and be divided by \{'policy': 'token'\}"):
        _ = build(SFT, reduction="token_mean", regularizer=use).needs
