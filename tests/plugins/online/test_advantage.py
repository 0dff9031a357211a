"""From rewards to columns (F28, F34, F37): against naive loops, by hand for groups, and for the KL in the loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.loss import Loss, LossOutput, Needs
from aftertrain.core.packed.packing import Segment, collate
from aftertrain.core.ranks import ALONE
from aftertrain.core.records import Completion, Message, Problem
from aftertrain.core.settings import Use
from aftertrain.plugins.advantages.gae import GAE
from aftertrain.plugins.advantages.group import Group
from aftertrain.plugins.advantages.settings import GAESettings, GroupSettings
from aftertrain.plugins.online.experience import make_experience, pack_minibatches
from aftertrain.plugins.online.models import Models
from aftertrain.plugins.online.penalty import KLPenalised, penalised
from aftertrain.plugins.online.policy_settings import KLSettings
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.reward import Judged
from aftertrain.plugins.online.rollout import Rollout
from aftertrain.plugins.online.settings import OnlineSettings

VOCABULARY = 40


class Lookup:
    """An engine whose scores are a table's entries by token id and position: any packing gives the same."""

    def __init__(self, seed: int) -> None:
        self.table = np.random.default_rng(seed).normal(size=(VOCABULARY, 32)).astype(np.float32)

    def score(self, batch: PackedBatch, wants: Iterable[str], **options: Any) -> TokenScores:
        found = torch.from_numpy(self.table)[batch.token_ids, batch.position_ids]
        return TokenScores(**dict.fromkeys(wants, found))

    ranks = ALONE
    shares_prefixes = False


def _settings(**changes: Any) -> OnlineSettings:
    """Settings without components, which these functions do not look at."""
    estimator = GAESettings(gamma=0.9, **{"lambda": 0.8})
    base = {"advantages": Use("advantage", "gae", estimator), **changes}
    kl = KLSettings(beta=0.3, place="reward", estimator="k1")
    return OnlineSettings.model_construct(
        **{
            **{name: field.default for name, field in OnlineSettings.model_fields.items() if not field.is_required()},
            "kl": kl,
            **base,
        }
    )


def _judged() -> list[Judged]:
    """Five replies of unequal lengths to three problems."""
    shapes = [(3, 4, 0, 10.0), (2, 1, 0, 0.0), (5, 3, 1, -10.0), (1, 6, 1, 10.0), (4, 2, 2, 0.0)]
    rng = np.random.default_rng(0)
    found = []
    for number, (prompt, reply, group, reward) in enumerate(shapes):
        ids, out = (tuple(rng.integers(0, VOCABULARY, n).tolist()) for n in (prompt, reply))
        problem = Problem(f"p{group}", (Message("user", "?"),), (), "s")
        completion = Completion(str(number), ids, out, (-0.5,) * reply, (0,) * reply, "stop", "")
        found.append(Judged(Rollout(f"p{group}/{number}", group, Prompt(problem, ids), completion), (), reward, reward))
    return found


def _columns(minibatches: Any, name: str) -> dict[str, list[float]]:
    """Response-token entries of a column by sample."""
    found = {}
    for batch in [batch for part in minibatches for batch in part]:
        for k, sample in enumerate(batch.sample_ids):
            found[sample] = batch.columns[name][(batch.segment_ids == k) & batch.loss_mask].tolist()
    return found


def _naive(
    judged: list[Judged], policy: Lookup, reference: Lookup, critic: Lookup
) -> dict[str, dict[str, list[float]]]:
    """PPO's columns reply by reply: −β·KL per token, the reward at the last, GAE backwards, whitening over all."""
    raw: dict[str, Any] = {}
    for one in judged:
        ids = [*one.rollout.prompt.token_ids, *one.rollout.completion.token_ids]
        start, stop = len(one.rollout.prompt.token_ids), len(ids)
        at = [(ids[i], i) for i in range(stop)]
        values = [float(critic.table[at[i - 1]]) for i in range(start, stop)]
        rewards = [-0.3 * float(policy.table[at[i]] - reference.table[at[i]]) for i in range(start, stop)]
        rewards[-1] += one.reward
        advantage, advantages = 0.0, []
        for t in reversed(range(len(values))):
            following = values[t + 1] if t + 1 < len(values) else 0.0
            advantage = rewards[t] + 0.9 * following - values[t] + 0.9 * 0.8 * advantage
            advantages.insert(0, advantage)
        raw[one.rollout.id] = (values, advantages)
    everything = np.array([a for _, advantages in raw.values() for a in advantages])
    mean, std = everything.mean(), everything.std(ddof=1)
    return {
        "old_values": {key: values for key, (values, _) in raw.items()},
        "returns": {key: [v + a for v, a in zip(*pair, strict=True)] for key, pair in raw.items()},
        "advantages": {key: [(a - mean) / std for a in advantages] for key, (_, advantages) in raw.items()},
    }


@pytest.mark.parametrize(("micro_tokens", "minibatches"), [(1000, 1), (9, 1), (9, 3)])
def test_columns_are_those_of_naive_loops_however_packed(micro_tokens: int, minibatches: int) -> None:
    """Returns come from the raw advantages, the columns hold whitened ones; micro-batches change neither."""
    judged, engines = _judged(), [Lookup(seed) for seed in (1, 2, 3)]
    batch = _settings().batch.model_copy(update={"micro_tokens": micro_tokens, "minibatches": minibatches})
    policy, reference, critic = engines
    models: Any = Models(policy, critic, reference, None, None)  # type: ignore[arg-type]
    settings = _settings(batch=batch)
    estimator = GAE(settings.advantages.settings, None)  # type: ignore[arg-type]
    experience = make_experience(judged, models, settings, estimator, atom="segment", step=1)
    assert len(experience.minibatches) == minibatches
    for name, expected in _naive(judged, policy, reference, critic).items():
        found = _columns(experience.minibatches, name)
        for sample, values in expected.items():
            assert found[sample] == pytest.approx(values, abs=1e-4), (name, sample)


def test_minibatches_keep_the_replies_to_one_problem_together() -> None:
    packs = pack_minibatches(_judged(), 3, 1000, "segment")
    assert [[batch.sample_ids for batch in part] for part in packs] == [
        [("p0/0", "p0/1")],
        [("p1/2", "p1/3")],
        [("p2/4",)],
    ]
    assert all(len(part) == 1 for part in pack_minibatches(_judged(), 3, 15, "group"))


def test_group_advantages_compare_replies_to_one_problem() -> None:
    """Rewards (10, 0) and (−10, 10): the better is +1, the worse −1; a lone reply has nothing to be compared with."""
    settings = _settings(advantages=Use("advantage", "group", GroupSettings()), kl=KLSettings(beta=0.0))
    estimator = Group(GroupSettings(), None)  # type: ignore[arg-type]
    models: Any = Models(Lookup(1), None, None, None, None)  # type: ignore[arg-type]
    experience = make_experience(_judged(), models, settings, estimator, atom="segment", step=1)
    found = _columns(experience.minibatches, "advantages")
    expected = {"p0/0": [1.0] * 4, "p0/1": [-1.0], "p1/2": [-1.0] * 3, "p1/3": [1.0] * 6, "p2/4": [0.0] * 2}
    assert {key: pytest.approx(values, abs=1e-6) for key, values in found.items()} == expected


class Nothing(Loss[Any]):
    """A loss of 0."""

    @property
    def needs(self) -> Needs:
        return Needs(records=frozenset({"Problem"}))

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        assert scores.logprobs is not None
        return LossOutput({"policy": 0.0 * scores.logprobs.sum()})


def _kl_gradient(estimator: str, score_function: bool) -> torch.Tensor:
    """Gradient in three logits of the penalty, averaged exactly over the old policy = the current one."""
    logits = torch.tensor([0.3, -0.2, 0.9], requires_grad=True)
    reference = torch.log_softmax(torch.tensor([0.0, 0.5, 0.1]), -1)
    # Some of these are refused: why is what is shown.
    settings: Any = KLSettings.model_construct(
        beta=1.0, place="loss", estimator=estimator, score_function=score_function
    )
    loss = penalised(Nothing(settings, None), settings)  # type: ignore[arg-type]
    assert isinstance(loss, KLPenalised)
    total = torch.zeros(())
    for token in range(3):
        logp = torch.log_softmax(logits, -1)[token]
        columns = {"old_logprobs": (0.0, float(logp.detach())), "reference_logprobs": (0.0, float(reference[token]))}
        batch = collate([Segment("s", (7, token), (False, True), columns=columns)])
        output = loss(batch, TokenScores(logprobs=torch.stack([torch.zeros(()), logp])))
        total = total + logp.detach().exp() * output.terms["policy"]
    (gradient,) = torch.autograd.grad(total, logits)
    return gradient


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_with_its_score_function_term_the_penalty_has_the_true_gradient_f28(estimator: str) -> None:
    """∇KL(π‖π_ref) by autograd of Σ π·log(π/π_ref), against the exact average of the sampled penalty's gradient."""
    logits = torch.tensor([0.3, -0.2, 0.9], requires_grad=True)
    reference = torch.log_softmax(torch.tensor([0.0, 0.5, 0.1]), -1)
    logp = torch.log_softmax(logits, -1)
    (true,) = torch.autograd.grad((logp.exp() * (logp - reference)).sum(), logits)
    torch.testing.assert_close(_kl_gradient(estimator, True), true, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(_kl_gradient(estimator, False), true, atol=1e-3), "the term would not matter"


def test_without_it_k1_pulls_nowhere_and_k2_pulls_truly_f28() -> None:
    """E[∇ log π] = 0: the fault of a k1 in the loss that forgets the term. E[d·∇ log π] is the KL's gradient itself."""
    logits = torch.tensor([0.3, -0.2, 0.9], requires_grad=True)
    reference = torch.log_softmax(torch.tensor([0.0, 0.5, 0.1]), -1)
    logp = torch.log_softmax(logits, -1)
    (true,) = torch.autograd.grad((logp.exp() * (logp - reference)).sum(), logits)
    assert _kl_gradient("k1", False).abs().max().item() < 1e-6
    torch.testing.assert_close(_kl_gradient("k2", False), true, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(_kl_gradient("k2", True), true, atol=1e-3)


def test_k3_without_it_pulls_as_the_other_kl_does_f28() -> None:
    """E_π[(1 − π_ref/π)·∇ log π] = −Σ π_ref·∇ log π: the gradient of KL(π_ref‖π), Tülu 3.1's leash."""
    logits = torch.tensor([0.3, -0.2, 0.9], requires_grad=True)
    reference = torch.log_softmax(torch.tensor([0.0, 0.5, 0.1]), -1)
    logp = torch.log_softmax(logits, -1)
    (other,) = torch.autograd.grad((reference.exp() * (reference - logp)).sum(), logits)
    torch.testing.assert_close(_kl_gradient("k3", False), other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("score_function", [True, False])
@pytest.mark.parametrize("beta", [0.0, 1e-6, 0.05])
@pytest.mark.parametrize("place", ["loss", "reward"])
def test_only_leashes_that_pull_are_accepted_f28(estimator: str, score_function: bool, beta: float, place: str) -> None:
    """The gradients above, as a table: in the loss k1 needs the term, k2 must be without it, k3 may have either; in the
    reward k1 alone pulls (test_kl_gradient.py).
    """
    given = {"beta": beta, "place": place, "estimator": estimator, "score_function": score_function}
    if place == "reward":
        with pytest.raises(ValidationError, match="it is for place: loss"):
            KLSettings.model_validate(given)
        del given["score_function"]
        if beta > 0 and estimator != "k1":
            with pytest.raises(ValidationError, match="Set estimator: k1, or place: loss"):
                KLSettings.model_validate(given)
        else:
            KLSettings.model_validate(given)
    elif beta > 0 and (estimator, score_function) in {("k1", False), ("k2", True)}:
        with pytest.raises(ValidationError, match="Set score_function: "):
            KLSettings.model_validate(given)
    else:
        KLSettings.model_validate(given)


def test_no_penalty_leaves_the_loss_alone() -> None:
    loss = Nothing(KLSettings(), None)  # type: ignore[arg-type]
    assert penalised(loss, KLSettings(place="reward", estimator="k1")) is loss
    assert penalised(loss, KLSettings(place="loss", beta=0.0)) is loss


def test_task_weights_multiply_the_advantages_alone_f36() -> None:
    """After whitening, by any packing; returns and values stay as they are."""
    judged = _judged()
    weights = {reply.rollout.id: 0.5 + number / 4 for number, reply in enumerate(judged)}
    models: Any = Models(Lookup(1), Lookup(3), Lookup(2), None, None)  # type: ignore[arg-type]
    for budget in (1000, 9):
        settings = _settings(batch=_settings().batch.model_copy(update={"micro_tokens": budget}))
        estimator = GAE(settings.advantages.settings, None)  # type: ignore[arg-type]
        plain, weighed = (
            make_experience(judged, models, settings, estimator, atom="segment", step=1, weights=given)
            for given in (None, weights)
        )
        for name in ("advantages", "returns", "old_values"):
            before, after = _columns(plain.minibatches, name), _columns(weighed.minibatches, name)
            for key, column in before.items():
                factor = weights[key] if name == "advantages" else 1.0
                assert after[key] == pytest.approx([factor * number for number in column], rel=1e-6)
