"""Online training: sample replies, judge them, learn from the verdicts."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the stage."""
    registry.add(
        "stage",
        "online",
        "aftertrain.plugins.online.stage:Online",
        "aftertrain.plugins.online.settings:OnlineSettings",
        "reinforcement learning from verifiable rewards (RLVR): GRPO on groups of replies, or PPO with a critic",
    )
