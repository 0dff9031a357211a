"""Advantage estimators by hand, and against plain loops that share nothing with them (F37: the actor-critic)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, pstdev
from typing import Any

import pytest
import torch

from aftertrain.core.advantage import Replies
from aftertrain.plugins.advantages.actor_critic import ActorCritic
from aftertrain.plugins.advantages.group import Group
from aftertrain.plugins.advantages.leave_one_out import RLOO
from aftertrain.plugins.advantages.pass_at_k import PassAtK, gains
from aftertrain.plugins.advantages.process import Process


def made(kind: Any, **settings: Any) -> Any:
    return kind(kind.Config(**settings), None)


def replies(*given: tuple[int, Sequence[float | None]], values: Sequence[float] | None = None) -> Replies:
    """Of each reply its group and, after a prompt token, the reward of each token; None is a tool's output."""
    mask = [found for _, tokens in given for found in (False, *(reward is not None for reward in tokens))]
    earned = [found for _, tokens in given for found in (0.0, *(reward or 0.0 for reward in tokens))]
    sizes = tuple(1 + len(tokens) for _, tokens in given)
    n = sum(sizes)
    return Replies(
        rewards=torch.tensor([sum(r or 0.0 for r in tokens) for _, tokens in given], dtype=torch.float64),
        parts={},
        groups=torch.tensor([group for group, _ in given]),
        lengths=torch.tensor([sum(r is not None for r in tokens) for _, tokens in given]),
        cut=torch.zeros(len(given), dtype=torch.bool),
        owners=torch.repeat_interleave(torch.arange(len(given)), torch.tensor(sizes)),
        mask=torch.tensor(mask),
        sizes=sizes,
        token_rewards=torch.tensor(earned),
        generator_logprobs=torch.zeros(n),
        versions=torch.zeros(n, dtype=torch.int64),
        values=None if values is None else torch.tensor(values),
    )


def advantages(estimator: Any, found: Replies) -> list[list[float]]:
    """Those of each reply's actions."""
    column = estimator(found).columns["advantages"]
    assert not column[~found.mask].any()
    return [column[found.mask & (found.owners == reply)].tolist() for reply in range(len(found.rewards))]


def test_actor_critic_by_hand_f37() -> None:
    """V before the actions 1, 2 (the heads at the prompt and the first token), rewards 0, 10, γ = ½.

    R + γV' = 0 + ½·2, 10 + 0; less V: 1 − 1, 10 − 2.
    """
    found = replies((0, [0.0, 10.0]), values=[1.0, 2.0, 7.0])
    credit = made(ActorCritic, gamma=0.5)(found)
    assert credit.columns["advantages"].tolist() == [0, 0, 8]
    assert credit.columns["returns"].tolist() == [0, 1, 10]
    assert made(ActorCritic, gamma=0.5, baseline=False)(found).columns["advantages"].tolist() == [0, 1, 10]


@pytest.mark.parametrize("baseline", [True, False])
def test_actor_critic_is_the_gradient_of_the_expected_return_f37(baseline: bool) -> None:
    """Two tokens of two kinds, all four replies listed, V the true value: E[A·∇log π] = ∇E[R], with γ = 1.

    The baseline moves no average, so that both forms have it.
    """
    table = torch.tensor([[0.3, -0.4], [1.0, 0.2], [-0.5, 0.1]], dtype=torch.float64, requires_grad=True)
    earned = {(0, 0): (1.0, 4.0), (0, 1): (1.0, -2.0), (1, 0): (0.5, 3.0), (1, 1): (0.5, 0.0)}

    def expected() -> torch.Tensor:
        scores = table.log_softmax(-1)
        terms = [(scores[0, a] + scores[1 + a, b]).exp() * sum(earned[a, b]) for a, b in earned]
        return torch.stack(terms).sum()

    scores = table.log_softmax(-1)
    probabilities = scores.detach().exp()
    after = [sum(float(probabilities[1 + a, b]) * earned[a, b][1] for b in (0, 1)) for a in (0, 1)]
    start = sum(float(probabilities[0, a]) * (earned[a, 0][0] + after[a]) for a in (0, 1))
    total = torch.zeros((), dtype=torch.float64)
    for (a, b), rewards in earned.items():
        found = replies((0, rewards), values=[start, after[a], 0.0])
        first, second = advantages(made(ActorCritic, baseline=baseline), found)[0]
        weight = float(probabilities[0, a] * probabilities[1 + a, b])
        total = total + weight * (first * scores[0, a] + second * scores[1 + a, b])
    (gradient,) = torch.autograd.grad(total, table)
    (true,) = torch.autograd.grad(expected(), table)
    torch.testing.assert_close(gradient, true, atol=1e-6, rtol=1e-5)


def test_pass_at_k_by_hand() -> None:
    """n = 3, k = 2, rewards 0, 0, 10: the third is in two of the three pairs, adding 10 to each: 3/3·20. The others add
    nothing. In a group where two are right, only the pair without the other right one gains: 3/3·10 each.
    """
    found = replies(
        *((group, [0.0, reward]) for group, rewards in ((0, (0, 0, 10)), (1, (10, 0, 10))) for reward in rewards)
    )
    assert advantages(made(PassAtK, k=2), found) == [[0, 0], [0, 0], [20, 20], [10, 10], [0, 0], [10, 10]]


@pytest.mark.parametrize("seed", range(8))
def test_pass_at_k_is_the_sum_over_all_sets(seed: int) -> None:
    """Every set of k listed, each reply credited with what it adds to its set's best; ties too."""
    draw = random.Random(seed)
    n = draw.randint(3, 7)
    rewards = [draw.choice([0.0, 0.0, 1.0, 2.5, draw.uniform(-3, 3)]) for _ in range(n)]
    for k in range(2, n + 1):
        sets = list(combinations(range(n), k))
        slow = [
            n
            / len(sets)
            * sum(
                max(rewards[j] for j in chosen) - max(rewards[j] for j in chosen if j != i)
                for chosen in sets
                if i in chosen
            )
            for i in range(n)
        ]
        assert gains(rewards, k) == pytest.approx(slow)


@pytest.mark.parametrize("k", [2, 3])
def test_pass_at_k_is_the_gradient_of_the_best_of_k(k: int) -> None:
    """Four replies drawn from three, all 81 draws listed: E[mean A_i·∇log π] = ∇E[best of k], by autograd."""
    from itertools import product

    table = torch.tensor([0.2, -0.7, 0.4], dtype=torch.float64, requires_grad=True)
    worth, n = (0.0, 1.0, 3.0), 4
    scores = table.log_softmax(-1)
    estimate = torch.zeros((), dtype=torch.float64)
    for drawn in product(range(3), repeat=n):
        weight = scores[list(drawn)].sum().detach().exp()
        credit = torch.tensor(gains([worth[i] for i in drawn], k), dtype=torch.float64)
        estimate = estimate + weight * (credit * scores[list(drawn)]).mean()
    best = [scores[list(drawn)].sum().exp() * max(worth[i] for i in drawn) for drawn in product(range(3), repeat=k)]
    (true,) = torch.autograd.grad(torch.stack(best).sum(), table, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(estimate, table)[0], true)


def test_of_fewer_than_k_the_best_of_all_counts() -> None:
    """Two replies: the one set of both, 2/1·3. One alone: nothing."""
    assert gains([4.0, 1.0], 5) == [6.0, 0.0]
    assert gains([4.0], 5) == [0.0]


def test_process_by_hand() -> None:
    """Turns of rewards 1 and 3, of 2 and 2: mean 2, σ = √½. Before a turn's end both steps are to come.

    r̃ = (−√2, √2) and (0, 0): the first reply's tokens get 0, 0 in its first turn and √2 in its second.
    """
    found = replies((0, [0.0, 1.0, None, None, 3.0]), (0, [2.0, None, 0.0, 2.0]))
    root = 2**0.5
    first, second = advantages(made(Process), found)
    assert first == pytest.approx([0, 0, root])
    assert second == pytest.approx([0, 0, 0])


def test_process_of_tokens_by_hand() -> None:
    """Each token a step: rewards 0, 4 and 2, 2, mean 2, σ = √2: r̃ = (−√2, √2), (0, 0)."""
    first, second = advantages(made(Process, step="token"), replies((0, [0.0, 4.0]), (0, [2.0, 2.0])))
    assert first == pytest.approx([0, 2**0.5])
    assert second == pytest.approx([0, 0])


@pytest.mark.parametrize("step", ["turn", "token"])
def test_process_is_a_plain_loop(step: str) -> None:
    """Random turns of random lengths in three groups, against the paper's words spelt out."""
    draw = random.Random(step)
    given: list[tuple[int, list[float | None]]] = []
    turns: list[list[list[float]]] = []
    for reply in range(9):
        spoken = [[round(draw.gauss(0, 1), 3) for _ in range(draw.randint(1, 4))] for _ in range(draw.randint(1, 3))]
        tokens: list[float | None] = []
        for turn in spoken:
            tokens += [*([None] * draw.randint(1, 2) if tokens else []), *turn]
        given.append((reply % 3, tokens))
        turns.append(spoken if step == "turn" else [[reward] for turn in spoken for reward in turn])
    found = advantages(made(Process, step=step), replies(*given))
    for group in range(3):
        steps = [sum(turn) for reply in range(group, 9, 3) for turn in turns[reply]]
        mean, spread = fmean(steps), pstdev(steps)
        for reply in range(group, 9, 3):
            expected = []
            for number, turn in enumerate(turns[reply]):
                to_come = sum((sum(later) - mean) / spread for later in turns[reply][number:])
                expected += [to_come] * len(turn)
            assert found[reply] == pytest.approx(expected, abs=1e-5)


def test_with_one_turn_process_is_group() -> None:
    found = replies((0, [0.0, 1.0]), (0, [3.0]), (1, [0.0, 0.0, 2.0]), (1, [2.0]), (0, [0.0, 0.5]))
    for ours, theirs in zip(advantages(made(Process), found), advantages(made(Group), found), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)


def test_rloo_is_pass_at_1() -> None:
    """Sets of one: the reward less that of the others, in place of less nothing; both have ∇E[r]."""
    found = replies((0, [1.0]), (0, [4.0]), (0, [4.0]))
    assert advantages(made(RLOO), found) == [[-3.0], [1.5], [1.5]]
