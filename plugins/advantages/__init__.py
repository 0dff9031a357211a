"""Advantage estimators for online learning."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.advantages"

ROWS = (
    ("gae", "gae:GAE", "GAESettings", "PPO: from a critic's values, by generalised advantage estimation"),
    (
        "group",
        "group:Group",
        "GroupSettings",
        "GRPO: a reply's reward against the others to its prompt, over their sprea",
    ),
    ("group_mean", "group:GroupMean", "GroupMeanSettings", "Dr. GRPO: the same, not divided by their spread"),
    ("rloo", "leave_one_out:RLOO", "RLOOSettings", "RLOO: a reply's reward against the mean of the others"),
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
