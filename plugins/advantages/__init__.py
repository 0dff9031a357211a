"""Advantage estimators for online learning."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.advantages"

ROWS = (
    ("gae", "gae:GAE", "GAESettings", "PPO: from a critic's values, by generalised advantage estimation"),
    (
        "actor_critic",
        "actor_critic:ActorCritic",
        "ActorCriticSettings",
        "plain actor-critic: what was earned and what the critic expects next",
    ),
    (
        "group",
        "group:Group",
        "GroupSettings",
        "GRPO: a reply's reward against the others to its prompt, over their spread",
    ),
    ("group_mean", "group:GroupMean", "GroupMeanSettings", "Dr. GRPO: the same, not divided by their spread"),
    ("rloo", "leave_one_out:RLOO", "RLOOSettings", "RLOO: a reply's reward against the mean of the others"),
    ("pass_at_k", "pass_at_k:PassAtK", "PassAtKSettings", "PKPO: what a reply adds to the best of k"),
    ("process", "process:Process", "ProcessSettings", "GRPO with rewards of steps: of turns or tokens"),
    (
        "reinforce_plus_plus",
        "reinforce:ReinforcePlusPlus",
        "ReinforcePlusPlusSettings",
        "REINFORCE++: rewards to go, against all tokens of the step, without a critic",
    ),
    (
        "reinforce_plus_plus_baseline",
        "reinforce:ReinforcePlusPlusBaseline",
        "ReinforcePlusPlusBaselineSettings",
        "REINFORCE++-baseline: a reply's reward against the others to its prompt, then against the step",
    ),
    ("pairs", "pairs:Pairs", "PairsSettings", "online DPO: the best reply to a prompt against the worst"),
)


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the estimators."""
    for name, component, settings, summary in ROWS:
        registry.add("advantage", name, f"{HERE}.{component}", f"{HERE}.settings:{settings}", summary)
