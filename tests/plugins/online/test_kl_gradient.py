"""F28: what the leash pulls at, on a policy small enough to list all its replies.

Three tokens, replies of two: π(a)·π(b|a), so that every expectation is a sum of nine terms. The KL of replies is
Σ_y π(y)·log(π(y)/π_ref(y)), and its gradient has two parts: that of each token's own distribution, and that of the
first token's choice of where the second is drawn. Subtracted from the reward, whose return runs to the end of the
reply, k1 gives both. In the loss an estimate stands at its token and gives the first alone (Tang and Munos 2025, arXiv
2506.09477): the gradient of Σ_t E[KL(π(·|s_t)‖π_ref(·|s_t))] with the prefixes s_t held.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from aftertrain.core.batch import TokenScores
from aftertrain.core.learning.rl import gae, kl_estimate, token_rewards
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.plugins.losses.policy_settings import ReinforceSettings
from aftertrain.plugins.losses.reinforce import Reinforce
from aftertrain.plugins.online.penalty import penalised
from aftertrain.plugins.online.settings import KLSettings

TOKENS = 3
Policy = tuple[Tensor, Tensor]
"""Log-probabilities of the first token `[3]`, and of the second after each first `[3, 3]`."""


def logits(seed: int, scale: float = 1.0) -> Tensor:
    """`[4, 3]`, float64: row 0 of the first token, the others of the second after each first."""
    return scale * torch.randn(1 + TOKENS, TOKENS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def policy(table: Tensor) -> Policy:
    scores = table.log_softmax(-1)
    return scores[0], scores[1:]


def replies(of: Policy) -> Iterator[tuple[int, int, Tensor]]:
    """Each reply and the log-probabilities `[2]` of its tokens."""
    for a, b in product(range(TOKENS), repeat=2):
        yield a, b, torch.stack([of[0][a], of[1][a, b]])


def true_gradient(table: Tensor, reference: Policy) -> Tensor:
    """∇ Σ_y π(y)·log(π(y)/π_ref(y)), by autograd through the sum itself."""
    now = policy(table)
    terms = [
        logprobs.sum().exp() * (logprobs - torch.stack([reference[0][a], reference[1][a, b]])).sum()
        for a, b, logprobs in replies(now)
    ]
    return torch.autograd.grad(torch.stack(terms).sum(), table)[0]


def held_gradient(table: Tensor, reference: Policy, prefixes: Policy) -> Tensor:
    """∇ Σ_t E[KL(π(·|s_t)‖π_ref(·|s_t))], the prefixes drawn from a policy that is held."""
    first, second = policy(table)
    kl = (first.exp() * (first - reference[0])).sum()
    kl = kl + (prefixes[0].exp().detach() * (second.exp() * (second - reference[1])).sum(-1)).sum()
    return torch.autograd.grad(kl, table)[0]


def settings(place: str, estimator: str, score_function: bool) -> Any:
    """Some of these are refused: why is what is shown."""
    return KLSettings.model_construct(beta=1.0, place=place, estimator=estimator, score_function=score_function)


def sampled_gradient(table: Tensor, reference: Policy, drawn_by: Policy, kl: Any) -> Tensor:
    """The exact average of what our code does to one reply, over all replies of the policy that drew them.

    Rewards are 0, and values too; γ = λ = 1; the loss is REINFORCE on sums.
    """
    loss = penalised(Reinforce(ReinforceSettings(), None), kl)  # type: ignore[arg-type]
    now, total = policy(table), torch.zeros((), dtype=torch.float64)
    old = {(a, b): logprobs for a, b, logprobs in replies(drawn_by)}
    for a, b, logprobs in replies(now):
        of_reference = torch.stack([reference[0][a], reference[1][a, b]])
        prompt = torch.zeros(1, dtype=torch.float64)
        segment = Segment("s", (7, a, b), (False, True, True))
        batch, zeros = collate([segment]), torch.zeros(3, dtype=torch.float64)
        columns = {
            "old_logprobs": torch.cat([prompt, old[a, b].detach()]),
            "reference_logprobs": torch.cat([prompt, of_reference]),
        }
        estimate = kl_estimate(columns["old_logprobs"], columns["reference_logprobs"], kl.estimator)
        beta = kl.beta if kl.place == "reward" else 0.0
        rewards = token_rewards(estimate, torch.zeros(1), batch.loss_mask, batch.segment_ids, beta)
        advantages, _ = gae(rewards, zeros, batch.loss_mask, batch.lengths, gamma=1.0, lam=1.0)
        batch = batch.with_columns(advantages=advantages, **columns)
        term = loss(batch, TokenScores(logprobs=torch.cat([prompt, logprobs]))).terms["policy"]
        total = total + old[a, b].detach().sum().exp() * term
    return torch.autograd.grad(total, table)[0]


@pytest.fixture
def table() -> Tensor:
    return logits(0).requires_grad_()


@pytest.fixture
def reference() -> Policy:
    return policy(logits(1))


def test_k1_in_the_reward_has_the_gradient_of_the_kl_of_replies(table: Tensor, reference: Policy) -> None:
    found = sampled_gradient(table, reference, policy(table), settings("reward", "k1", True))
    torch.testing.assert_close(found, true_gradient(table, reference))


@pytest.mark.parametrize(("estimator", "score_function"), [("k1", True), ("k2", False), ("k3", True)])
def test_in_the_loss_each_token_is_pulled_by_its_own_kl(
    table: Tensor, reference: Policy, estimator: str, score_function: bool
) -> None:
    """Of what the first token does to where the second stands nothing is seen: only the second's rows agree."""
    found = sampled_gradient(table, reference, policy(table), settings("loss", estimator, score_function))
    torch.testing.assert_close(found, held_gradient(table, reference, policy(table)))
    true = true_gradient(table, reference)
    torch.testing.assert_close(found[1:], true[1:])
    assert not torch.allclose(found[0], true[0], atol=1e-2)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_with_the_score_function_it_stays_so_when_the_policy_has_moved(
    table: Tensor, reference: Policy, estimator: str
) -> None:
    """Replies of another policy, weighed by π/π_old at each token: the prefixes alone are the other's."""
    other = policy(logits(0) + logits(2, scale=0.3))
    found = sampled_gradient(table, reference, other, settings("loss", estimator, True))
    torch.testing.assert_close(found, held_gradient(table, reference, other))
    moved = sampled_gradient(table, reference, other, settings("loss", "k2", False))
    assert not torch.allclose(moved, held_gradient(table, reference, other), atol=1e-2), "k2 is right on policy alone"


def test_k3_without_it_pulls_as_the_kl_the_other_way_round(table: Tensor, reference: Policy) -> None:
    """∇KL(π_ref(·|s)‖π(·|s)) at each prefix: Tülu 3.1's and TRL's leash."""
    found = sampled_gradient(table, reference, policy(table), settings("loss", "k3", False))
    first, second = policy(table)
    kl = -(reference[0].exp() * first).sum()
    kl = kl - (first.detach().exp() * (reference[1].exp() * second).sum(-1)).sum()
    torch.testing.assert_close(found, torch.autograd.grad(kl, table)[0])


REFUSED = [("loss", "k1", False), ("loss", "k2", True), ("reward", "k2", True), ("reward", "k3", True)]


@pytest.mark.parametrize(("place", "estimator", "score_function"), REFUSED)
def test_what_is_refused_pulls_elsewhere(
    table: Tensor, reference: Policy, place: str, estimator: str, score_function: bool
) -> None:
    found = sampled_gradient(table, reference, policy(table), settings(place, estimator, score_function))
    for right in (true_gradient(table, reference), held_gradient(table, reference, policy(table))):
        assert not torch.allclose(found, right, atol=1e-2)
    given = {"place": place, "estimator": estimator, "beta": 0.1}
    with pytest.raises(ValidationError, match=r"Set (kl\.)?(estimator|score_function|place)"):
        KLSettings.model_validate(given | ({"score_function": score_function} if place == "loss" else {}))


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_in_the_reward_k2_and_k3_hold_nothing_near_the_reference(reference: Policy, estimator: str) -> None:
    """With a policy δ away the KL's gradient is of order δ, theirs of δ²: ten times nearer, ten times weaker."""
    norms = {}
    for delta in (0.1, 0.01):
        near = (logits(1) + delta * logits(3)).requires_grad_()
        found = sampled_gradient(near, reference, policy(near), settings("reward", estimator, True))
        norms[delta] = float(found.norm() / true_gradient(near, reference).norm())
    assert norms[0.01] < 0.15 * norms[0.1]
