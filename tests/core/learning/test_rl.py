"""F28, F34, F37: KL estimates, token rewards, GAE, whitening, by hand and against plain loops."""

from __future__ import annotations

import doctest
import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aftertrain.core.learning import rl


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(rl).failed == 0


def test_estimators_average_to_the_true_kl_f28() -> None:
    """π = (¾, ¼), π_ref = (½, ½): KL = ¾·ln 1.5 + ¼·ln 0.5 = 0.130812.

    E[k1] and E[k3] under π are exactly that; E[k2] = ½(¾·ln²1.5 + ¼·ln²0.5) = 0.121706.
    """
    p, q = torch.tensor([0.75, 0.25]), torch.tensor([0.5, 0.5])
    exact = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    for estimator in ("k1", "k3"):
        assert (p * rl.kl_estimate(p.log(), q.log(), estimator)).sum().item() == pytest.approx(exact, abs=1e-6)
    k2 = 0.5 * (0.75 * math.log(1.5) ** 2 + 0.25 * math.log(0.5) ** 2)
    assert (p * rl.kl_estimate(p.log(), q.log(), "k2")).sum().item() == pytest.approx(k2, abs=1e-6)


def test_score_lands_on_each_reply_s_last_action_f34() -> None:
    """Segments of 3 and 4 tokens; the second's last token is not an action, so its score is one earlier."""
    mask = torch.tensor([0, 1, 1, 0, 1, 1, 0], dtype=torch.bool)
    ids = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    kl = torch.tensor([5.0, 1.0, -2.0, 5.0, 3.0, 4.0, 5.0])
    rewards = rl.token_rewards(kl, torch.tensor([10.0, -10.0]), mask, ids, 0.5)
    assert rewards.tolist() == [0.0, -0.5, 11.0, 0.0, -1.5, -12.0, 0.0]


def test_a_reply_without_actions_moves_no_other_score_f34() -> None:
    mask = torch.tensor([0, 0, 0, 1], dtype=torch.bool)
    rewards = rl.token_rewards(torch.zeros(4), torch.tensor([10.0, 3.0]), mask, torch.tensor([0, 0, 1, 1]), 0.0)
    assert rewards.tolist() == [0.0, 0.0, 0.0, 3.0]


def _naive_gae(
    rewards: list[float], values: list[float], mask: list[bool], lengths: list[int], gamma: float, lam: float
) -> list[float]:
    """By definition: A_k = Σ_l (γλ)^l δ_{k+l}, segment by segment, with no recursion."""
    found, start = [0.0] * len(rewards), 0
    for length in lengths:
        actions = [i for i in range(start, start + length) if mask[i]]
        before = [values[i - 1] for i in actions] + [0.0]
        deltas = [rewards[i] + gamma * before[k + 1] - before[k] for k, i in enumerate(actions)]
        for k, i in enumerate(actions):
            found[i] = sum((gamma * lam) ** n * delta for n, delta in enumerate(deltas[k:]))
        start += length
    return found


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_gae_is_the_discounted_sum_of_deltas_f37(lengths: list[int], gamma: float, lam: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = sum(lengths)
    rewards, values = torch.randn(n, generator=generator), torch.randn(n, generator=generator)
    mask = torch.rand(n, generator=generator) < 0.6
    start = 0
    for length in lengths:
        mask[start] = False
        start += length
    advantages, returns = rl.gae(rewards, values, mask, lengths, gamma=gamma, lam=lam)
    naive = torch.tensor(_naive_gae(rewards.tolist(), values.tolist(), mask.tolist(), lengths, gamma, lam))
    torch.testing.assert_close(advantages, naive, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(returns, torch.where(mask, naive + rl.values_before(values), 0.0), atol=1e-5, rtol=1e-5)


def test_lambda_one_makes_returns_the_reward_to_go_f37() -> None:
    """γ = λ = 1: the return of an action is the sum of rewards from it on, whatever the values are."""
    rewards = torch.tensor([0.0, 1.0, 2.0, 4.0])
    mask = torch.tensor([False, True, True, True])
    _, returns = rl.gae(rewards, torch.tensor([3.0, -1.0, 0.5, 9.0]), mask, [4], gamma=1.0, lam=1.0)
    assert returns.tolist() == [0.0, 7.0, 6.0, 4.0]


def test_whitening_is_of_the_whole_batch_over_response_tokens_f37() -> None:
    """Two ranks that exchange sums whiten like one that holds all tokens; alone they would not."""
    values = torch.tensor([1.0, 2.0, 4.0, 50.0, 8.0, 3.0])
    mask = torch.tensor([True, True, True, False, True, True])
    whole, mean, std = rl.whiten(values, mask)
    kept = [1.0, 2.0, 4.0, 8.0, 3.0]
    assert mean == pytest.approx(statistics.mean(kept))
    assert std == pytest.approx(statistics.stdev(kept))
    assert whole[3] == 0.0
    others = [{"count": 2.0, "sum": 11.0}, {"squares": sum((v - mean) ** 2 for v in (8.0, 3.0))}]
    calls = iter(others)

    def reduce(sums: object) -> dict[str, float]:
        other = next(calls)
        assert isinstance(sums, dict)
        return {name: sums[name] + other[name] for name in sums}

    rank0, _, _ = rl.whiten(values[:3], mask[:3], reduce=reduce)
    torch.testing.assert_close(rank0, whole[:3])
    alone, _, _ = rl.whiten(values[:3], mask[:3])
    assert not torch.allclose(alone, whole[:3])


def test_whitening_may_keep_the_mean() -> None:
    values = torch.tensor([1.0, 3.0])
    kept, mean, std = rl.whiten(values, torch.ones(2, dtype=torch.bool), shift_mean=False)
    torch.testing.assert_close(kept, (values - mean) / std + mean)


def test_whitening_one_token_is_zero_not_nan() -> None:
    whitened, _, std = rl.whiten(torch.tensor([5.0]), torch.tensor([True]))
    assert whitened.tolist() == [0.0]
    assert std == 0.0


def test_group_advantages_by_hand() -> None:
    """(4, 0, 2): mean 2, deviation √(8/3). Unscaled they are (2, −2, 0); a group of equals is all 0."""
    found = rl.group_advantages([4.0, 7.0, 0.0, 7.0, 2.0], [0, 1, 0, 1, 0])
    assert found == pytest.approx([2 / math.sqrt(8 / 3), 0.0, -2 / math.sqrt(8 / 3), 0.0, 0.0])
    assert rl.group_advantages([4.0, 0.0, 2.0], [0, 0, 0], scale=False) == [2.0, -2.0, 0.0]
