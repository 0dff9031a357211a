"""A whole stage is a plain loop (`plain_loop.py`) to 1e-6 of every weight, for every algorithm.

Temperatures, unequal and cut replies, groups of mixed outcomes, micro-batches, several passes and several minibatches
are drawn for each by a seed. Both see the same replies: the stage's own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.plugins.online import plain_loop as plain

Make = Callable[..., Any]

OPTIMIZER = {"lr": 3e-3, "eps": 1e-3, "weight_decay": 0.01, "max_grad_norm": 0.5}
"""A large eps: where a gradient is all but 0, Adam's quotient is rounding alone."""
CUT = 6
"""Tokens after which a reply is cut."""
NO_LEASH: dict[str, Any] = {"beta": 0.0}
K3 = {"place": "loss", "estimator": "k3", "score_function": False, "beta": 0.3}


def loss(name: str, **settings: Any) -> dict[str, Any]:
    return {"use": name, **settings}


ALGORITHMS: dict[str, tuple[dict[str, Any], plain.Algorithm]] = {
    "ppo": (
        {
            "advantages": {"use": "gae", "gamma": 0.9, "lambda": 0.8},
            "loss": loss("ppo", value_clip=0.1, value_coefficient=0.5),
            "kl": {"beta": 0.2},
        },
        plain.Algorithm(
            plain.gae(0.9, 0.8, whiten=True), plain.clipped(0.2, 0.2), in_reward=0.2, critic=0.5, value_clip=0.1
        ),
    ),
    "actor-critic": (
        {"loss": "actor_critic", "advantages": {"use": "actor_critic", "gamma": 0.9}, "kl": {"beta": 0.2}},
        plain.Algorithm(plain.one_step(0.9, baseline=True), plain.plain, in_reward=0.2, critic=1.0),
    ),
    "actor-critic without a baseline": (
        {"loss": "actor_critic", "advantages": {"use": "actor_critic", "baseline": False}, "kl": {"beta": 0.2}},
        plain.Algorithm(plain.one_step(1.0, baseline=False), plain.plain, in_reward=0.2, critic=1.0),
    ),
    "grpo": (
        {"loss": "grpo", "advantages": "group", "kl": K3},
        plain.Algorithm(
            plain.group(scale=True), plain.clipped(0.2, 0.2), in_loss=plain.leash("k3", 0.3, score_function=False)
        ),
    ),
    "grpo of means": (
        {"advantages": "group", "loss": loss("grpo", reduction="sequence_mean"), "kl": {**K3, "score_function": True}},
        plain.Algorithm(
            plain.group(scale=True),
            plain.clipped(0.2, 0.2),
            over="mean",
            in_loss=plain.leash("k3", 0.3, score_function=True),
        ),
    ),
    "dr_grpo": (
        {
            "advantages": "group_mean",
            "loss": loss("dr_grpo", length=6),
            "kl": {"place": "loss", "estimator": "k1", "beta": 0.3},
        },
        plain.Algorithm(
            plain.group(scale=False),
            plain.clipped(0.2, 0.2),
            over="sum",
            length=6,
            in_loss=plain.leash("k1", 0.3, score_function=True),
        ),
    ),
    "dapo": (
        {"advantages": "group", "loss": "dapo", "kl": NO_LEASH},
        plain.Algorithm(plain.group(scale=True), plain.clipped(0.2, 0.28)),
    ),
    "gspo": (
        {"advantages": "group", "loss": loss("gspo", clip=0.05, clip_high=0.08), "kl": NO_LEASH},
        plain.Algorithm(plain.group(scale=True), plain.of_sequence(0.05, 0.08), over="mean"),
    ),
    "gspo of tokens": (
        {
            "advantages": "reinforce_plus_plus",
            "loss": loss("gspo", clip=0.05, clip_high=0.08, credit="token"),
            "kl": {"beta": 0.2},
        },
        plain.Algorithm(plain.to_go, plain.of_sequence_by_token(0.05, 0.08), over="mean", in_reward=0.2),
    ),
    "cispo": (
        {"advantages": "group", "loss": loss("cispo", clip_high=0.1), "kl": NO_LEASH},
        plain.Algorithm(plain.group(scale=True), plain.weighted(1.1)),
    ),
    "rloo": (
        {"loss": "reinforce", "advantages": "rloo", "kl": {"beta": 0.2}},
        plain.Algorithm(plain.leave_one_out, plain.plain, over="sum", in_reward=0.2),
    ),
    "reinforce of tokens": (
        {"advantages": "group_mean", "loss": loss("reinforce", reduction="token_mean"), "kl": NO_LEASH},
        plain.Algorithm(plain.group(scale=False), plain.plain),
    ),
    "reinforce++": (
        {"loss": "grpo", "advantages": "reinforce_plus_plus", "kl": {"beta": 0.2}},
        plain.Algorithm(plain.to_go, plain.clipped(0.2, 0.2), in_reward=0.2),
    ),
    "reinforce++ with a baseline": (
        {"loss": "grpo", "advantages": "reinforce_plus_plus_baseline", "kl": {"beta": 0.3}},
        plain.Algorithm(
            plain.group_then_step, plain.clipped(0.2, 0.2), in_loss=plain.leash("k2", 0.3, score_function=False)
        ),
    ),
    "pass@2": (
        {"loss": "reinforce", "advantages": {"use": "pass_at_k", "k": 2}, "kl": NO_LEASH},
        plain.Algorithm(plain.best_of_two, plain.plain, over="sum"),
    ),
    "process with one turn": (
        {"loss": "grpo", "advantages": "process", "kl": NO_LEASH},
        plain.Algorithm(plain.group(scale=True), plain.clipped(0.2, 0.2)),
    ),
    "online dpo": (
        {"advantages": "pairs", "loss": loss("dpo", beta=0.7)},
        plain.Algorithm(pair=plain.sigmoid(0.7)),
    ),
    "online ipo": (
        {"advantages": "pairs", "loss": loss("ipo", beta=0.7)},
        plain.Algorithm(pair=lambda h: (h - 1 / 1.4) ** 2, pair_means=True),
    ),
    "online slic": (
        {"advantages": "pairs", "loss": loss("hinge", beta=0.7)},
        plain.Algorithm(pair=lambda h: torch.relu(1 - 0.7 * h)),
    ),
}


@pytest.fixture(scope="module")
def critic(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the tiny model with a scalar head."""
    from aftertrain.core.engine import AdamW
    from aftertrain.plugins.torch_engine.engine import TorchEngine
    from aftertrain.plugins.torch_engine.settings import TorchSettings

    folder = tmp_path_factory.mktemp("critic") / "model"
    engine = TorchEngine(TorchSettings(), None)  # type: ignore[arg-type]
    engine.load(str(tiny_model), head="scalar", optimizer=AdamW(), seed=5)
    engine.save_model(folder)
    return folder


def drawn(name: str, *, one_pass: bool) -> dict[str, Any]:
    """How a step is cut and sampled, by the algorithm's name.

    Args:
        one_pass: a single update of the whole step, where no log-probabilities are computed beforehand.
    """
    draw = random.Random(name)
    updates, minibatches = (1, 1) if one_pass else draw.choice([(2, 1), (1, 3), (2, 2), (3, 2)])
    batch = {"prompts": 4, "updates": updates, "minibatches": minibatches, "micro_tokens": draw.choice([60, 120, 4096])}
    return {
        "batch": {**batch, "samples_per_prompt": 3},
        "sampling": {"max_new_tokens": CUT, "temperature": draw.choice([0.6, 1.0, 1.7]), "stop": ["a", "e", "t", "0"]},
    }


@pytest.mark.parametrize(
    ("name", "one_pass"),
    [*((name, False) for name in ALGORITHMS), ("grpo", True), ("gspo", True), ("reinforce of tokens", True)],
)
def test_a_stage_is_a_plain_loop(
    name: str, one_pass: bool, bench: Make, tiny_model: Path, critic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, algorithm = ALGORITHMS[name]
    cut = drawn(name, one_pass=one_pass)
    has_critic = algorithm.critic is not None
    changes = {
        **settings,
        **cut,
        "rewards": [{"use": "mixed"}],
        "checks": {"contains": "mixed"},
        "reward": {"positive": 2.0, "missing_eos": -1.0},
        "optimizer": {**OPTIMIZER, "schedule": "constant"},
        "steps": 3,
        **({"critic": "rm"} if has_critic else {}),
    }
    made = bench(name, changes, critic=critic if has_critic else None)
    steps = recorded(monkeypatch)
    folder = Path(made.run().path)
    every = [reply for replies in steps for reply in replies]
    assert {len(reply.tokens) for reply in every} >= {2, 3, CUT}, "lengths differ, and some are cut"
    assert {reply.reward for reply in every} == {-1.0, 0.0, 1.0, 2.0}, "outcomes differ; -1 is for those that are cut"

    found = trained(folder)
    expected = plain_loop(algorithm, tiny_model, critic if has_critic else None, steps, cut)
    start = trained(tiny_model)
    assert max(float((found[key] - start[key]).abs().max()) for key in start) > 1e-3, "it learnt"
    apart = {key: float((found[key] - weights).abs().max()) for key, weights in expected.items()}
    assert max(apart.values()) < 1e-6, {key: value for key, value in apart.items() if value >= 1e-6}


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[list[plain.Reply]]:
    """The replies of each step, taken down as the stage judges them."""
    from aftertrain.plugins.online.rewarding import Rewarding

    steps: list[list[plain.Reply]] = []
    judge = Rewarding.judge

    def noted(self: Rewarding, *given: Any, **named: Any) -> Any:
        judged = judge(self, *given, **named)
        steps.append(
            [
                plain.Reply(
                    one.rollout.prompt.token_ids, one.rollout.completion.token_ids, one.reward, one.rollout.group
                )
                for one in judged
            ]
        )
        return judged

    monkeypatch.setattr(Rewarding, "judge", noted)
    return steps


def plain_loop(
    algorithm: plain.Algorithm, base: Path, critic: Path | None, steps: list[list[plain.Reply]], cut: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """The policy's weights after the same replies."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    policy, reference = (AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval() for _ in range(2))
    valued = None
    if critic is not None:
        valued = AutoModelForSequenceClassification.from_pretrained(critic, dtype=torch.float32, num_labels=1).eval()
    trainer = plain.Trainer(algorithm, policy, reference, valued, cut["sampling"]["temperature"])
    trainer.optimise(**OPTIMIZER)
    for replies in steps:
        trainer.step(replies, cut["batch"]["updates"], cut["batch"]["minibatches"])
    return {key: value.detach() for key, value in policy.state_dict().items()}


def trained(folder: Path) -> dict[str, torch.Tensor]:
    """A folder's weights, the head that is the embedding's too."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return {key: value.detach() for key, value in model.state_dict().items()}
