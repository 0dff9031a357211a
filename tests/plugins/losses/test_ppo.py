"""F37: the PPO loss by hand, and against a padded implementation in plain torch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.plugins.losses.policy_settings import PPOSettings
from aftertrain.plugins.losses.ppo import PPO

COLUMNS = ("old_logprobs", "advantages", "returns", "old_values")


def _loss(**settings: object) -> PPO:
    return PPO(PPOSettings.model_validate(settings), builder=None)  # type: ignore[arg-type]


def _one_action(**columns: float) -> PackedBatch:
    """A prompt token and one action."""
    return collate(
        [Segment("s", (5, 6), (False, True), columns={name: (0.0, columns.get(name, 0.0)) for name in COLUMNS})]
    )


@pytest.mark.parametrize(
    ("ratio", "advantage", "policy", "clipped", "slope"),
    [
        (1.1, 2.0, -2.2, 0.0, -2.2),
        (1.5, 2.0, -2.4, 1.0, 0.0),  # up and good: the push ends at 1.2
        (0.5, 2.0, -1.0, 0.0, -1.0),  # down and good: still pulled back up
        (0.5, -2.0, 1.6, 1.0, 0.0),  # down and bad: the push ends at 0.8
        (1.5, -2.0, 3.0, 0.0, 3.0),  # up and bad: pushed down
    ],
)
def test_policy_clip_by_hand_f37(ratio: float, advantage: float, policy: float, clipped: float, slope: float) -> None:
    """max(−Aρ, −A·clip(ρ, 0.8, 1.2)); its derivative in log π is −Aρ where unclipped, else 0."""
    logprobs = torch.tensor([0.0, math.log(ratio)], requires_grad=True)
    batch = _one_action(advantages=advantage)
    output = _loss()(batch, TokenScores(logprobs=logprobs, values=torch.zeros(2)))
    assert output.terms["policy"].item() == pytest.approx(policy, abs=1e-6)
    assert float(output.metrics["clip_fraction"].sum) == clipped
    assert float(output.metrics["ratio"].sum) == pytest.approx(ratio)
    assert float(output.metrics["approx_kl"].sum) == pytest.approx(ratio - 1 - math.log(ratio), abs=1e-6)
    output.terms["policy"].backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([0.0, slope], abs=1e-6)


@pytest.mark.parametrize(
    ("value", "old", "worst"),
    [
        (1.1, 1.0, 0.9**2),  # within the clip: (1.1 − 2)²
        (1.9, 1.0, 0.8**2),  # moved 0.9 towards the return 2, counts as 1.2: (1.2 − 2)²
        (0.0, 1.0, 2.0**2),  # moved away: the unclipped error (0 − 2)² is the larger
    ],
)
def test_value_clip_by_hand_f37(value: float, old: float, worst: float) -> None:
    """½ · 0.1 · max((V − R)², (clipped V − R)²) with R = 2; V before the action is the head at the prompt token."""
    output = _loss()(
        _one_action(returns=2.0, old_values=old),
        TokenScores(logprobs=torch.zeros(2), values=torch.tensor([value, 77.0])),
    )
    assert output.terms["value"].item() == pytest.approx(0.05 * worst, abs=1e-6)
    assert float(output.metrics["value_error"].sum) == pytest.approx((value - 2) ** 2, abs=1e-5)


def test_values_may_go_unclipped() -> None:
    output = _loss(value_clip=None, value_coefficient=1.0)(
        _one_action(returns=2.0, old_values=1.0),
        TokenScores(logprobs=torch.zeros(2), values=torch.tensor([1.9, 0.0])),
    )
    assert output.terms["value"].item() == pytest.approx(0.5 * 0.1**2, abs=1e-6)


def test_entropy_bonus_lowers_the_policy_term() -> None:
    """0.01 · 3 nats at the one action; the prompt token's entropy is no concern."""
    loss = _loss(entropy_coefficient=0.01)
    assert "entropy" in loss.needs.scores
    assert "entropy" not in _loss().needs.scores
    scores = TokenScores(logprobs=torch.zeros(2), values=torch.zeros(2), entropy=torch.tensor([99.0, 3.0]))
    output = loss(_one_action(), scores)
    assert output.terms["policy"].item() == pytest.approx(-0.03)
    assert float(output.metrics["entropy"].sum) == 3.0


def _padded_reference(
    logp: Tensor, values: Tensor, columns: dict[str, Tensor], mask: Tensor, clip: float, value_clip: float, c: float
) -> tuple[Tensor, Tensor]:
    """Sums over `[rows, time]` tensors whose values already are those before the token."""
    ratio = torch.exp(logp - columns["old_logprobs"])
    surrogate = torch.min(ratio * columns["advantages"], torch.clip(ratio, 1 - clip, 1 + clip) * columns["advantages"])
    near = torch.clip(values, columns["old_values"] - value_clip, columns["old_values"] + value_clip)
    squares = torch.stack([(values - columns["returns"]) ** 2, (near - columns["returns"]) ** 2])
    return -(surrogate * mask).sum(), 0.5 * c * (squares.max(0).values * mask).sum()


def test_packed_equals_padded_reference_f37() -> None:
    """Three rows of other lengths; terms and gradients agree with a padded implementation."""
    generator = torch.Generator().manual_seed(0)
    lengths, prompts, width = (5, 9, 3), (2, 4, 1), 9
    grid = {name: torch.randn(3, width, generator=generator) for name in (*COLUMNS, "logp", "values")}
    mask = torch.tensor([[prompts[r] <= t < lengths[r] for t in range(width)] for r in range(3)])
    segments = [
        Segment(
            f"s{r}",
            tuple(range(n)),
            tuple(mask[r, :n].tolist()),
            columns={name: grid[name][r, :n].tolist() for name in COLUMNS},
        )
        for r, n in enumerate(lengths)
    ]
    logp, head = grid["logp"].clone().requires_grad_(), grid["values"].clone().requires_grad_()
    before = torch.cat([torch.zeros(3, 1), head[:, :-1]], 1)
    policy, value = _padded_reference(logp, before, grid, mask, 0.2, 0.3, 0.5)
    flat_logp = torch.cat([grid["logp"][r, :n] for r, n in enumerate(lengths)]).requires_grad_()
    flat_head = torch.cat([grid["values"][r, :n] for r, n in enumerate(lengths)]).requires_grad_()
    output = _loss(value_clip=0.3, value_coefficient=0.5)(
        collate(segments), TokenScores(logprobs=flat_logp, values=flat_head)
    )
    torch.testing.assert_close(output.terms["policy"], policy)
    torch.testing.assert_close(output.terms["value"], value)
    (policy + value).backward()
    (output.terms["policy"] + output.terms["value"]).backward()
    assert logp.grad is not None
    assert head.grad is not None
    for flat, padded in ((flat_logp.grad, logp.grad), (flat_head.grad, head.grad)):
        torch.testing.assert_close(flat, torch.cat([padded[r, :n] for r, n in enumerate(lengths)]))


def test_filler_counts_for_nothing() -> None:
    """A segment of weight 0, even with numbers that are not finite, changes neither terms nor metrics nor gradients."""
    real = Segment("a", (1, 2), (False, True), columns=dict.fromkeys(COLUMNS, (0.0, 0.5)))
    filler = Segment("b", (1, 2), (False, True), weight=0.0, columns=dict.fromkeys(COLUMNS, (0.0, math.inf)))
    alone = _loss()(collate([real]), TokenScores(logprobs=torch.zeros(2), values=torch.zeros(2)))
    logprobs = torch.zeros(4, requires_grad=True)
    both = _loss()(collate([real, filler]), TokenScores(logprobs=logprobs, values=torch.zeros(4)))
    assert {k: v.item() for k, v in both.terms.items()} == {k: v.item() for k, v in alone.terms.items()}
    assert all(float(both.metrics[k].count) == 1 for k in alone.metrics)
    both.terms["policy"].backward()
    assert logprobs.grad is not None
    assert torch.isfinite(logprobs.grad).all()
