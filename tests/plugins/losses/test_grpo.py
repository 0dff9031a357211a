"""GRPO (DeepSeekMath eq. 3): clipping on both sides, both reductions, and what counts for nothing."""

from __future__ import annotations

import math

import pytest
import torch

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.core.settings import Builder
from aftertrain.plugins.losses.grpo import GRPO
from aftertrain.plugins.losses.policy_settings import GRPOSettings


def _loss(builder: Builder | None = None, **settings: object) -> GRPO:
    return GRPO(GRPOSettings.model_validate(settings), builder)  # type: ignore[arg-type] (it builds nothing)


def _batch(weight: float = 1.0) -> PackedBatch:
    """A prompt token and one action with A = 2; a prompt token and two actions with A = −1 each."""
    return collate(
        [
            Segment("a", [5, 6], [False, True], columns={"old_logprobs": [0, -1.0], "advantages": [9, 2.0]}),
            Segment(
                "b",
                [5, 7, 8],
                [False, True, True],
                weight=weight,
                columns={"old_logprobs": [0, -1.0, -2.0], "advantages": [9, -1.0, -1.0]},
            ),
        ]
    )


def _scores(*log_ratios: float) -> TokenScores:
    a, b, c = log_ratios
    return TokenScores(logprobs=torch.tensor([0, -1 + a, 0, -1 + b, -2 + c], requires_grad=True))


def test_token_mean_by_hand() -> None:
    """Ratios 1.5, 1.5, 0.5. A = 2: −min(2·1.5, 2·1.2) = −2.4. A = −1: −min(−1.5, −1.2) = 1.5; −min(−0.5, −0.8) = 0.8.

    Sum −2.4 + 1.5 + 0.8 = −0.1. Where the clipped side is the larger loss nothing pushes: the gradient is that of the
    second token alone, d/dlogπ of 1.5 = ρ·1 = 1.5.
    """
    scores = _scores(math.log(1.5), math.log(1.5), math.log(0.5))
    output = _loss()(_batch(), scores)
    assert output.terms["policy"].item() == pytest.approx(-0.1)
    output.terms["policy"].backward()
    assert scores.logprobs is not None
    assert scores.logprobs.grad is not None
    assert scores.logprobs.grad.tolist() == pytest.approx([0, 0, 0, 1.5, 0])
    clipped = output.metrics["clip_fraction"]
    assert (float(clipped.sum), float(clipped.count)) == (2, 3)


def test_sequence_mean_by_hand() -> None:
    """The same tokens; the second reply's two count half each: −2.4 + (1.5 + 0.8)/2 = −1.25."""
    loss = _loss(reduction="sequence_mean")
    output = loss(_batch(), _scores(math.log(1.5), math.log(1.5), math.log(0.5)))
    assert output.terms["policy"].item() == pytest.approx(-1.25)
    assert loss.needs.per == {"policy": "segment"}
    assert _loss().needs.per == {"policy": "token"}


def test_clip_high_is_its_own() -> None:
    """DAPO's clip-higher: A = 2, ρ = 1.5 is cut at 1.28 instead of 1.2; the lower side stays at 0.8."""
    output = _loss(clip_high=0.28)(_batch(), _scores(math.log(1.5), math.log(1.5), math.log(0.5)))
    assert output.terms["policy"].item() == pytest.approx(-2.56 + 1.5 + 0.8)


def test_first_update_is_the_policy_gradient() -> None:
    """At ρ = 1 the gradient with respect to logπ is −A: REINFORCE with the group's baseline."""
    scores = _scores(0.0, 0.0, 0.0)
    _loss()(_batch(), scores).terms["policy"].backward()
    assert scores.logprobs is not None
    assert scores.logprobs.grad is not None
    assert scores.logprobs.grad.tolist() == pytest.approx([0, -2, 0, 1, 1])


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean"])
def test_weight_zero_counts_for_nothing(reduction: str) -> None:
    """Filler with logprobs that overflow exp() leaves value and gradient finite and alone."""
    scores = _scores(0.0, 200.0, 200.0)
    output = _loss(reduction=reduction)(_batch(weight=0.0), scores)
    assert output.terms["policy"].item() == pytest.approx(-2.0)
    output.terms["policy"].backward()
    assert scores.logprobs is not None
    assert scores.logprobs.grad is not None
    assert scores.logprobs.grad.tolist() == pytest.approx([0, -2, 0, 0, 0])
