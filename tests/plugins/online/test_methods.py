"""A method is one component: a stranger's in a file, what its paper sets of the stage, and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import aftertrain
from aftertrain.cli import main
from aftertrain.core.errors import RecipeError
from aftertrain.plugins.online.settings import OnlineSettings

RECIPE = """
name: methods
model: package:aftertrain.plugins.quickstart/model
stages:
  rl:
    use: online
    data: {use: quickstart, split: problems, rows: 8}
    rewards: [{use: gsm8k, extract: strict}]
    verification: {workers: 1}
    sampling: {max_new_tokens: 12}
    batch: {prompts: 4}
    steps: 2
    optimizer: {lr: 1.0e-4}
"""
STRANGER = '''
from aftertrain.core.advantage import Advantage, AdvantageSettings, Credit, Method, Replies

class LooSettings(AdvantageSettings):
    """RLOO."""

    method = Method(samples=2, defaults={"batch": {"samples_per_prompt": 3}, "kl": {"beta": 0.0}})

class Loo(Advantage[LooSettings]):
    """Each reply against the mean of the others."""

    Config = LooSettings

    def __call__(self, replies: Replies) -> Credit:
        rewards, others = replies.rewards, replies.group_sizes - 1
        baseline = (replies.group_sum(rewards) - rewards) / others.clamp(min=1)
        return Credit({"advantages": replies.per_token(rewards - baseline)})
'''


def _settings(tmp_path: Path, more: str = "", batch: str = "{prompts: 4}") -> OnlineSettings:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("{prompts: 4}", batch) + more)
    settings = aftertrain.load_recipe(path).recipe.stages["rl"].settings
    assert isinstance(settings, OnlineSettings)
    return settings


def _run(tmp_path: Path, more: str) -> list[dict[str, Any]]:
    """The metrics of a run of the recipe."""
    (tmp_path / "recipe.yaml").write_text(RECIPE + more)
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "runs")]) == 0
    lines = (tmp_path / "runs" / "methods" / "events.jsonl").read_text().splitlines()
    return [line["data"] for line in map(json.loads, lines) if line["name"] == "metrics"]


def test_a_strangers_method_in_a_file_trains(tmp_path: Path) -> None:
    """Three replies to a prompt, as its method says, and no reference, whose penalty it sets to 0."""
    (tmp_path / "loo.py").write_text(STRANGER)
    metrics = _run(tmp_path, "    advantages: ./loo.py:Loo\n")
    assert len(metrics) == 2
    settings = _settings(tmp_path, "    advantages: ./loo.py:Loo\n")
    assert (settings.batch.samples_per_prompt, settings.kl.beta, settings.loss.name) == (3, 0.0, "grpo")
    assert "kl" not in metrics[0]


@pytest.mark.parametrize(
    "name", ["group", "group_mean", "rloo", "reinforce_plus_plus", "pairs", "pass_at_k", "process", "actor_critic"]
)
@pytest.mark.slow
def test_a_built_in_method_is_a_line_of_a_recipe(tmp_path: Path, name: str) -> None:
    assert len(_run(tmp_path, f"    advantages: {name}\n")) == 2


def test_a_method_sets_what_its_paper_sets_and_a_recipe_wins(tmp_path: Path) -> None:
    ppo = _settings(tmp_path)
    assert (ppo.loss.name, ppo.kl.place, ppo.kl.estimator, ppo.batch.updates) == ("ppo", "reward", "k1", 4)
    assert (ppo.reward.missing_eos, ppo.batch.samples_per_prompt) == (-10.0, 1)
    grpo = _settings(tmp_path, "    advantages: group\n    kl: {beta: 0.01}\n")
    assert (grpo.loss.name, grpo.kl.place, grpo.kl.estimator, grpo.batch.updates) == ("grpo", "loss", "k3", 1)
    assert (grpo.kl.beta, grpo.kl.score_function, grpo.reward.missing_eos) == (0.01, False, None)
    own = _settings(
        tmp_path, "    advantages: rloo\n    kl: {place: loss, estimator: k3}\n    reward: {missing_eos: 0.0}\n"
    )
    assert (own.kl.place, own.kl.estimator, own.reward.missing_eos) == ("loss", "k3", 0.0)


def test_what_a_method_sets_for_another_place_is_left_out(tmp_path: Path) -> None:
    """GRPO sets the score-function term of a penalty in the loss: with the penalty of weight 0 in the reward it is not
    a setting that somebody set, and is not refused as one."""
    settings = _settings(tmp_path, "    advantages: group\n    kl: {place: reward, beta: 0.0}\n")
    assert settings.kl.place == "reward"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("    advantages: groups\n", "Did you mean 'group'"),
        ("    advantages: group\n    critic: rm\n", "it is for a method with a critic"),
        ("    advantages: {use: gae, lam: 0.9}\n", "Did you mean"),
        ("    gae_lambda: 0.9\n", "'advantages.lambda'"),
        ("    advantages: group\n    kl: {place: reward, estimator: k1, beta: 0.1}\n", "Set kl.place: loss"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        _settings(tmp_path, more)


def test_a_method_may_ask_for_as_many_samples_as_its_settings_say(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="samples_per_prompt must be 6 or more"):
        _settings(tmp_path, "    advantages: {use: pass_at_k, k: 6}\n", "{prompts: 4, samples_per_prompt: 4}")
    assert _settings(tmp_path, "    advantages: {use: pass_at_k, k: 6}\n").batch.samples_per_prompt == 16
